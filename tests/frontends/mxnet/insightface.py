"""A residual network of InsightFace's kind, with PReLU and squeeze-excitation, saved as its checkpoints are."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from tophub_registry.frontends.mxnet import libraries

Shapes = Mapping[str, tuple[int, ...]]


def checkpoint(folder: Path, shapes: Shapes, *, channels: tuple[int, ...] = (8, 16), embedding: int = 12) -> Path:
    """Save `model-symbol.json` and `model-0000.params` with random weights, and return the former's path.

    Parameters
    ----------
    channels
        Of the first convolution, and of each stage of two units that halves the image.
    embedding
        Numbers in the output.
    """
    mx = libraries.mxnet()
    symbol = residual_network(mx, channels, embedding)
    symbol.save(str(folder / "model-symbol.json"))
    mx.nd.save(str(folder / "model-0000.params"), weights(mx, symbol, shapes))
    return folder / "model-symbol.json"


def images(shapes: Shapes) -> list[np.ndarray]:
    """Return random images as such networks take them, in the range of a byte."""
    generator = np.random.default_rng(0)
    return [generator.uniform(0, 255, shape).astype("float32") for shape in shapes.values()]


def residual_network(mx: Any, channels: tuple[int, ...], embedding: int) -> Any:
    def norm(data, name, **attributes):
        return mx.sym.BatchNorm(data, eps=2e-5, momentum=0.9, name=name, **{"fix_gamma": False, **attributes})

    def convolution(data, channels, kernel, name, stride=1):
        pad = kernel // 2
        return mx.sym.Convolution(
            data,
            num_filter=channels,
            kernel=(kernel, kernel),
            stride=(stride, stride),
            pad=(pad, pad),
            no_bias=True,
            name=name,
        )

    def prelu(data, name):
        return mx.sym.LeakyReLU(data, act_type="prelu", name=name)

    def unit(data, channels, stride, name):
        body = norm(data, f"{name}_bn1")
        body = prelu(norm(convolution(body, channels, 3, f"{name}_conv1"), f"{name}_bn2"), f"{name}_relu1")
        body = norm(convolution(body, channels, 3, f"{name}_conv2", stride), f"{name}_bn3")
        squeezed = mx.sym.Pooling(body, global_pool=True, kernel=(7, 7), pool_type="avg", name=f"{name}_pool")
        squeezed = prelu(convolution(squeezed, channels // 4, 1, f"{name}_se1"), f"{name}_se_relu")
        squeezed = mx.sym.Activation(convolution(squeezed, channels, 1, f"{name}_se2"), act_type="sigmoid")
        body = mx.sym.broadcast_mul(body, squeezed)
        shortcut = data if stride == 1 else norm(convolution(data, channels, 1, f"{name}_sc", 2), f"{name}_sc_bn")
        return body + shortcut

    first, *stages = channels
    data = mx.sym.identity(mx.sym.var("data"), name="id")
    data = (data - 127.5) * 0.0078125
    body = prelu(norm(convolution(data, first, 3, "conv0"), "bn0"), "relu0")
    for stage, width in enumerate(stages, start=1):
        body = unit(body, width, 2, f"stage{stage}_unit1")
        body = unit(body, width, 1, f"stage{stage}_unit2")
    body = mx.sym.Dropout(norm(body, "bn1"), p=0.4)
    return norm(mx.sym.FullyConnected(body, num_hidden=embedding, name="pre_fc1"), "fc1", fix_gamma=True)


def weights(mx: Any, symbol: Any, shapes: Shapes) -> dict[str, Any]:
    """Return random weights whose batch norms do something; the gammas that are to be fixed are not 1."""
    generator = np.random.default_rng(3)
    found_shapes, _, aux_shapes = symbol.infer_shape(**shapes)
    named = [("arg", *pair) for pair in zip(symbol.list_arguments(), found_shapes, strict=True)]
    named += [("aux", *pair) for pair in zip(symbol.list_auxiliary_states(), aux_shapes, strict=True)]
    found = {}
    for kind, name, shape in named:
        if name == "data":
            continue
        values = generator.normal(0, 0.3, shape)
        if name.endswith(("_gamma", "_var")):
            values = generator.uniform(0.5, 2, shape)
        found[f"{kind}:{name}"] = mx.nd.array(values)
    return found
