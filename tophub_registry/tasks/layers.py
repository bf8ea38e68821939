"""The layers of a network that do arithmetic: their operation and shapes.

Plain data, independent of the framework. Shapes are those of PyTorch and MXNet: images are
`[batch, channel, height, width]`, kernels `[out, in / groups, height, width]`.
"""

from __future__ import annotations

from dataclasses import dataclass

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Layer:
    """A layer: its name in the network and its operator."""

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
        Before each axis, then after each: `(top, left, bottom, right)`.
    groups
        Number of groups of channels, each convolved separately.
    """

    data: Shape
    kernel: Shape
    strides: Shape
    padding: Shape
    dilation: Shape
    groups: int


@dataclass(frozen=True)
class TransposedConvolution(Layer):
    """A transposed convolution over one or two axes, without dilation.

    Attributes
    ----------
    kernel
        `[in, out / groups, height, width]`, or without the height.
    padding
        What is cropped from the full result: before each axis, then after each.
    output_padding
        What is added after each axis.
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
class MatrixProducts(Layer):
    """Matrix products `data · weightᵀ`: data `[batch, rows, in]`, weight `[batch, columns, in]`."""

    data: Shape
    weight: Shape


@dataclass(frozen=True)
class Other(Layer):
    """A layer that multiplies and adds in a form that no template covers."""
