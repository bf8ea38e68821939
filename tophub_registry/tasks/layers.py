"""The layers of a network that cost arithmetic: what they compute and on which shapes.

Plain data, whatever library the network came from. Shapes are those of PyTorch and MXNet: images are
`[batch, channel, height, width]`, kernels `[out, in / groups, height, width]`.
"""

from __future__ import annotations

from dataclasses import dataclass

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Layer:
    """A layer with its name in the network and the operator it is."""

    name: str
    operator: str


@dataclass(frozen=True)
class Convolution(Layer):
    """A convolution over two or three axes (a one-dimensional one is two-dimensional with height 1).

    Attributes
    ----------
    data, kernel
        Shapes.
    strides, dilation
        One number for each axis.
    padding
        That of each axis at its front, then of each at its back: `(top, left, bottom, right)`.
    groups
        How many parts the channels are split into, each convolved on its own.
    """

    data: Shape
    kernel: Shape
    strides: Shape
    padding: Shape
    dilation: Shape
    groups: int


@dataclass(frozen=True)
class TransposedConvolution(Layer):
    """A transposed convolution over two axes, without dilation.

    Attributes
    ----------
    kernel
        `[in, out / groups, height, width]`.
    padding
        What is cut off the full result: `(top, left, bottom, right)`.
    output_padding
        What is added at the lower and the right end.
    """

    data: Shape
    kernel: Shape
    strides: Shape
    padding: Shape
    output_padding: Shape
    groups: int


@dataclass(frozen=True)
class Dense(Layer):
    """A matrix product `data · weightᵀ`: data `[batch, in]`, weight `[out, in]`."""

    data: Shape
    weight: Shape


@dataclass(frozen=True)
class Other(Layer):
    """A layer that multiplies and adds in a form that no template computes."""
