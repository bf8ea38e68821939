"""Small networks of the kinds that MXNet's users bring, and the layers that these share.

A network is a function of MXNet's symbols and of a source of random numbers, which draws its sizes and attributes.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Network:
    """A network.

    Attributes
    ----------
    output
        MXNet's symbol.
    shapes
        The inputs' shapes, by name.
    numbers
        The bounds of the whole numbers that an input consists of; other inputs are normal noise.
    given
        Inputs with given values.
    """

    output: Any
    shapes: Mapping[str, tuple[int, ...]]
    numbers: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    given: Mapping[str, list[float]] = field(default_factory=dict)

    def inputs(self, generator: np.random.Generator) -> dict[str, np.ndarray]:
        found = {}
        for name, shape in self.shapes.items():
            if name in self.given:
                array = np.reshape(self.given[name], shape)
            elif name in self.numbers:
                array = generator.integers(*self.numbers[name], shape)
            else:
                array = generator.standard_normal(shape)
            found[name] = array.astype("float32")
        return found

    def weights(self, generator: np.random.Generator) -> dict[str, np.ndarray]:
        """Return weights by MXNet's names in files, such that values neither vanish nor explode; none for labels."""
        shapes, _, states = self.output.infer_shape_partial(**self.shapes)
        found = {}
        for name, shape in zip(self.output.list_arguments(), shapes, strict=True):
            if name in self.shapes or name.endswith("label"):
                continue
            if name.endswith(("gamma", "scale")):
                array = generator.uniform(0.3, 1.2, shape)
            elif len(shape) > 1:
                array = generator.standard_normal(shape) / np.sqrt(np.prod(shape[1:]))
            else:
                array = generator.standard_normal(shape) * 0.3
            found[f"arg:{name}"] = array
        for name, shape in zip(self.output.list_auxiliary_states(), states, strict=True):
            positive = name.endswith("var")
            found[f"aux:{name}"] = generator.uniform(0.5, 1.5, shape) if positive else generator.normal(0, 0.2, shape)
        return found


Draw = random.Random
Kind = Callable[[Any, Draw], Network]


def conv(F, x, filters, kernel=3, *, stride=1, pad=None, dilate=1, groups=1, act=None, norm=True):  # noqa: PLR0913  # a convolution has these
    """Return a convolution, its batch norm or bias, and an activation by its name."""
    size = kernel if isinstance(kernel, tuple) else (kernel, kernel)
    around = tuple((each - 1) // 2 * dilate for each in size) if pad is None else (pad, pad)
    attributes = {"kernel": size, "stride": (stride, stride), "pad": around, "dilate": (dilate, dilate)}
    x = F.Convolution(x, num_filter=filters, num_group=groups, no_bias=norm, **attributes)
    if norm:
        x = F.BatchNorm(x, fix_gamma=False, eps=1e-3)
    return activated(F, x, act)


def activated(F, x, act):
    if act is None:
        return x
    if act == "swish":
        return x * F.sigmoid(x)
    if act in ("elu", "gelu", "leaky", "prelu", "selu"):
        return F.LeakyReLU(x, act_type=act, **({} if act == "prelu" else {"slope": 0.1}))
    return F.Activation(x, act_type=act)


def pool(F, x, kernel=2, stride=2, kind="max", **attributes):
    return F.Pooling(x, kernel=(kernel, kernel), stride=(stride, stride), pool_type=kind, **attributes)


def average(F, x):
    return F.Pooling(x, kernel=(1, 1), global_pool=True, pool_type="avg")
