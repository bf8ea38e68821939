"""Modules with one layer."""

from __future__ import annotations

from typing import Any


def one_layer(operator: str, data: tuple[int, ...], kernel: tuple[int, ...], **window: Any) -> Any:
    """Return a module with one layer of an operator of `relax.op.nn`, and a ReLU behind it."""
    import numpy as np
    from tvm import relax

    numbers = np.random.default_rng(0)
    weight = relax.const(numbers.standard_normal(kernel).astype("float32"))
    builder = relax.BlockBuilder()
    image = relax.Var("image", relax.TensorType(data, "float32"))
    with builder.function("main", [image]):
        with builder.dataflow():
            layer = getattr(relax.op.nn, operator)
            value = builder.emit(layer(image, weight, **window), name_hint="layer")
            output = builder.emit_output(relax.op.nn.relu(value))
        builder.emit_func_output(output)
    return builder.get()
