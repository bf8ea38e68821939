"""Small ONNX networks, drawn at random: every operator that the normal form changes, in any order."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
from onnx import ModelProto, TensorProto, helper, numpy_helper


class Net:
    """An ONNX graph as it grows.

    Parameters
    ----------
    shape
        The input's, `[N, C, H, W]`.
    """

    def __init__(self, shape: tuple[int, ...], seed: int = 0) -> None:
        self.rng = np.random.default_rng(seed)
        self.nodes: list[Any] = []
        self.weights: dict[str, np.ndarray] = {}
        self.inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)]

    def weight(self, *shape: int, low: float = -1, high: float = 1, name: str | None = None) -> str:
        name = name or f"w{len(self.weights)}"
        self.weights[name] = self.rng.uniform(low, high, shape).astype("float32")
        return name

    def ints(self, *numbers: int) -> str:
        name = f"w{len(self.weights)}"
        self.weights[name] = np.array(numbers, "int64")
        return name

    def add(self, kind: str, *inputs: str, **attributes: Any) -> str:
        output = f"v{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, inputs, [output], name=f"{kind}_{len(self.nodes)}", **attributes))
        return output

    def model(self, *outputs: str) -> ModelProto:
        graph = helper.make_graph(
            self.nodes,
            "net",
            self.inputs,
            [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs],
            [numpy_helper.from_array(array, name) for name, array in self.weights.items()],
        )
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def random_net(seed: int) -> ModelProto:
    """Return a network of ten operators or so, whose layout, shape and channels change on the way."""
    draw = random.Random(seed)
    channels, size = draw.choice([3, 4, 8]), draw.choice([7, 8, 12])
    net = Net((draw.choice([1, 2]), channels, size, size + draw.choice([0, 1])), seed)
    value, others = "x", []
    for _ in range(draw.randint(6, 12)):
        step = draw.choice(_STEPS)
        value, channels = step(net, draw, value, channels)
        if draw.random() < 0.15:
            others.append(net.add("Sigmoid", value))
    return net.model(value, *others[:1])


def _convolution(net: Net, draw: random.Random, value: str, channels: int) -> tuple[str, int]:
    outs = draw.choice([channels, 2 * channels, 5])
    kernel = draw.choice([1, 3])
    groups = channels if outs == channels and draw.random() < 0.4 else 1
    pads = [kernel // 2] * 4
    if kernel == 3 and draw.random() < 0.3:
        pads = [0, 1, 2, 1]
    weight = net.weight(outs, channels // groups, kernel, kernel)
    bias = [net.weight(outs)] if draw.random() < 0.5 else []
    return net.add("Conv", value, weight, *bias, pads=pads, group=groups), outs


def _padded(net: Net, draw: random.Random, value: str, channels: int) -> tuple[str, int]:
    """A frontend that pads before it convolves, as TensorFlow's `SAME` becomes."""
    padded = net.add("Pad", value, net.ints(0, 0, draw.choice([0, 1]), 1, 0, 0, 1, 1))
    return net.add("Conv", padded, net.weight(4, channels, 3, 3)), 4


def _transposed(net: Net, draw: random.Random, value: str, channels: int) -> tuple[str, int]:
    groups = 2 if channels % 2 == 0 and draw.random() < 0.5 else 1
    weight = net.weight(channels, 2, 2, 2)
    return net.add("ConvTranspose", value, weight, group=groups, pads=[1, 0, 0, 1]), 2 * groups


def _batch_norm(net: Net, _: random.Random, value: str, channels: int) -> tuple[str, int]:
    terms = [net.weight(channels), net.weight(channels), net.weight(channels), net.weight(channels, low=0.5, high=2)]
    return net.add("BatchNormalization", value, *terms), channels


def _affine(net: Net, draw: random.Random, value: str, channels: int) -> tuple[str, int]:
    numbers = net.weight(*draw.choice([(channels, 1, 1), (1, channels, 1, 1), (1,), ()]), low=0.5, high=2)
    pair = (numbers, value) if draw.random() < 0.3 else (value, numbers)
    kinds = ["Add", "Sub", "Mul"] + ["Div"] * (pair[0] == value)
    return net.add(draw.choice(kinds), *pair), channels


def _activation(net: Net, draw: random.Random, value: str, channels: int) -> tuple[str, int]:
    return net.add(draw.choice(["Relu", "Sigmoid", "Tanh", "LeakyRelu", "HardSwish"]), value), channels


def _residual(net: Net, _: random.Random, value: str, channels: int) -> tuple[str, int]:
    return net.add("Add", value, net.add("Conv", value, net.weight(channels, channels, 1, 1))), channels


def _joined(net: Net, _: random.Random, value: str, channels: int) -> tuple[str, int]:
    return net.add("Concat", value, net.add("Relu", value), axis=1), 2 * channels


def _last_channels(net: Net, draw: random.Random, value: str, channels: int) -> tuple[str, int]:
    """What a network that counts channels last does between two transposes."""
    inside = net.add("Transpose", value, perm=[0, 2, 3, 1])
    for _ in range(draw.randint(1, 3)):
        kind = draw.choice(["add", "relu", "dense", "norm", "mul"])
        if kind == "add":
            inside = net.add("Add", inside, net.weight(channels))
        elif kind == "relu":
            inside = net.add("Relu", inside)
        elif kind == "dense":
            inside = net.add("Add", net.add("MatMul", inside, net.weight(channels, channels)), net.weight(channels))
        elif kind == "mul":
            inside = net.add("Mul", inside, net.add("Sigmoid", inside))
        else:
            inside = net.add("LayerNormalization", inside, net.weight(channels), net.weight(channels))
    return net.add("Transpose", inside, perm=[0, 3, 1, 2]), channels


def _pooled(net: Net, draw: random.Random, value: str, channels: int) -> tuple[str, int]:
    kind = draw.choice(["MaxPool", "AveragePool"])
    return net.add(kind, value, kernel_shape=[3, 3], pads=[1, 1, 1, 1], strides=[1, 1]), channels


def _gate(net: Net, _: random.Random, value: str, channels: int) -> tuple[str, int]:
    squeezed = net.add("ReduceMean", value, axes=[2, 3], keepdims=1)
    return net.add(
        "Mul", value, net.add("Sigmoid", net.add("Conv", squeezed, net.weight(channels, channels, 1, 1)))
    ), channels


_STEPS = [
    *(_convolution, _convolution, _padded, _transposed, _batch_norm, _batch_norm, _affine, _affine, _activation),
    *(_residual, _joined, _last_channels, _last_channels, _pooled, _gate),
]
