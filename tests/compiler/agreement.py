"""Running a model that was read, and comparing it with the original."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from tophub_registry.frontends import Model


def run(model: Model, *arrays: np.ndarray) -> list[np.ndarray]:
    """Compile the module as it is, untuned, and run it."""
    import tvm
    from tvm import relax

    machine = relax.VirtualMachine(tvm.compile(model.module, target="llvm"), tvm.cpu())
    outputs = machine["main"](*map(tvm.runtime.tensor, arrays))
    return [output.numpy() for output in ([outputs] if len(model.outputs) == 1 else outputs)]


def noise(model: Model) -> list[np.ndarray]:
    """Return normal noise for each input."""
    generator = np.random.default_rng(0)
    return [generator.standard_normal(shape, dtype="float32") for shape, _ in model.inputs.values()]


def assert_agrees(model: Model, *inputs: np.ndarray) -> None:
    """Hold the outputs against MXNet's, on noise unless inputs are given."""
    inputs = inputs or tuple(noise(model))
    assert_close(run(model, *inputs), model.reference(*inputs))


def assert_close(ours: Sequence[np.ndarray], theirs: Sequence[np.ndarray]) -> None:
    """Hold outputs against MXNet's, which must not be all alike, within a thousandth."""
    for mine, expected in zip(ours, theirs, strict=True):
        assert expected.std() > 0
        np.testing.assert_allclose(mine, expected, rtol=1e-3, atol=1e-5 * np.abs(expected).max())


def operators(model: Model) -> list[str]:
    """Return the operators of the module, in their order."""
    from tophub_registry.tasks.reading import calls_of

    return [call.op.name for _, call in calls_of(model.module["main"])]
