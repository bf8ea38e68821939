"""Many forms of MXNet's operators in one network, compared with MXNet at once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from tests.compiler.agreement import run
from tophub_registry.frontends import read_model

Form = tuple[Any, Sequence[tuple[int, ...]], Callable[[Any, Any, list[Any]], Any]]
"""What to say of it, the shapes of its weights, and the operator, which takes `(F, data, weights)`."""


def assert_all_agree(mx: Any, shape: tuple[int, ...], forms: Sequence[Form]) -> None:
    """Compare each operator's output on normal noise with MXNet's; weights are random."""
    generator = np.random.default_rng(0)

    class All(mx.gluon.HybridBlock):
        def __init__(self):
            super().__init__()
            with self.name_scope():
                for i, (_, shapes, _) in enumerate(forms):
                    for j, each in enumerate(shapes):
                        name = f"weight{i}_{j}"
                        value = generator.uniform(-1, 1, each).astype("float32")
                        setattr(self, name, self.params.get_constant(name, value))

        def hybrid_forward(self, F, x, **weights):
            return [
                form(F, x, [weights[f"weight{i}_{j}"] for j in range(len(shapes))])
                for i, (_, shapes, form) in enumerate(forms)
            ]

    block = All()
    block.initialize()
    model = read_model(block, shapes={"data": shape})
    assert not model.untranslated
    data = np.random.default_rng(1).standard_normal(shape).astype("float32")
    ours = run(model, data)
    for (told, *_), mine, expected in zip(forms, ours, model.reference(data), strict=True):
        scale = np.abs(expected).max()
        np.testing.assert_allclose(mine, expected, rtol=1e-4, atol=1e-5 * scale, err_msg=str(told))
