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
    strides, padding, dilation
        One number for each axis; the padding is the same at both ends.
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
        What is cut off at both ends of the full result.
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
    """A layer that costs arithmetic and that AutoTVM tunes from no network of this kind."""
