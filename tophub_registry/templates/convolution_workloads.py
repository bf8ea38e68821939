"""The workloads of convolutions, plain and transposed, over one to three axes."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from tophub_registry.errors import InputError
from tophub_registry.records.arguments import CONVOLUTION, GROUPED, TRANSPOSED, shown, take
from tophub_registry.templates.workloads import check_sizes, check_tensors, data_and_kernel, named

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from typing_extensions import Self


@dataclass(frozen=True)
class _Convolution(ABC):
    """What plain and transposed convolutions have in common; data and output are `[N, C, …]`.

    Attributes
    ----------
    size, taps
        The data and the kernel along each axis: depth, height and width, the last two, or the last.
    padding
        Before each axis, then after each.
    """

    batch: int
    in_channels: int
    size: tuple[int, ...]
    out_channels: int
    taps: tuple[int, ...]
    strides: tuple[int, ...]
    padding: tuple[int, ...]

    @property
    @abstractmethod
    def out_size(self) -> tuple[int, ...]:
        """The output along each axis."""

    @property
    def margins(self) -> tuple[tuple[int, int], ...]:
        """The padding before and after each axis."""
        axes = len(self.size)
        return tuple(zip(self.padding[:axes], self.padding[axes:], strict=True))

    @property
    def height(self) -> int:
        """The height of the data."""
        return self.size[-2]

    @property
    def width(self) -> int:
        """The width of the data."""
        return self.size[-1]

    @property
    def kernel_height(self) -> int:
        """The height of the kernel."""
        return self.taps[-2]

    @property
    def kernel_width(self) -> int:
        """The width of the kernel."""
        return self.taps[-1]

    @property
    def out_height(self) -> int:
        """The height of the output."""
        return self.out_size[-2]

    @property
    def out_width(self) -> int:
        """The width of the output."""
        return self.out_size[-1]

    @property
    def output(self) -> tuple[int, ...]:
        """The shape of the output."""
        return self.batch, self.out_channels, *self.out_size


_ALL = (slice(None), slice(None))
"""All images and channels of an array."""


@dataclass(frozen=True)
class ConvNd(_Convolution):
    """A convolution over any number of axes, `[N, C, …]` times `[O, C / groups, …]`.

    Arguments of the task: `[data, kernel, strides, padding, dilation, …, dtype]`, where data and kernel are
    `["TENSOR", shape, dtype]` and the padding has one number for each axis, or two: before each axis, then after
    each. The kernel has the input channels of one group.
    """

    dilation: tuple[int, ...]
    dtype: str
    groups: int = 1

    axes: ClassVar[int]
    """How many axes the kernel moves along."""

    @classmethod
    def parse(cls, args: list[Any]) -> Self:
        """Read the arguments of a convolution without groups, or raise an InputError."""
        conv = cls._read(args)
        if conv.groups != 1:
            raise InputError(f"the channels of data and kernel do not fit: {shown(args)}")
        return conv

    @classmethod
    def parse_depthwise(cls, args: list[Any]) -> Self:
        """Read the arguments of a convolution with one kernel per channel, or raise an InputError."""
        conv = cls._read(args)
        if not conv.groups == conv.in_channels == conv.out_channels:
            raise InputError(f"not one kernel per channel: {shown(args)}")
        return conv

    @classmethod
    def parse_grouped(cls, args: list[Any]) -> Self:
        """Read the arguments of a grouped convolution, with the groups before the dtype, or raise an InputError."""
        conv = cls._read(args)
        if take(GROUPED, args, cls.axes)["groups"] != conv.groups:
            raise InputError(f"the channels of data and kernel do not fit the groups: {shown(args)}")
        return conv

    @classmethod
    def _read(cls, args: list[Any]) -> Self:
        values = named(CONVOLUTION, args[: len(CONVOLUTION.split())], "a convolution", cls.axes)
        (n, ci, *size), (co, ci_kernel, *taps), dtype = data_and_kernel(
            values, args, "a convolution", rank=2 + cls.axes
        )
        strides, padding, dilation = (tuple(values[name]) for name in ("strides", "padding", "dilation"))
        check_sizes(args, (n, ci, *size, co, ci_kernel, *taps, *strides, *dilation), padding)
        groups, rest = divmod(ci, ci_kernel)
        if rest or not groups or co % groups or args[-1] != dtype:
            raise InputError(f"the channels or types of data and kernel do not fit: {shown(args)}")
        conv = cls(n, ci, tuple(size), co, tuple(taps), strides, padding, dilation, dtype, groups)
        check_tensors(args, conv)
        return conv

    @property
    def group_channels(self) -> tuple[int, int]:
        """The input and the output channels of one group: all of them without groups."""
        return self.in_channels // self.groups, self.out_channels // self.groups

    @property
    def out_size(self) -> tuple[int, ...]:
        """The output along each axis."""
        sizes = zip(self.size, self.margins, self.taps, self.dilation, self.strides, strict=True)
        return tuple((size + sum(margin) - (taps - 1) * d - 1) // s + 1 for size, margin, taps, d, s in sizes)

    @property
    def pointwise(self) -> bool:
        """Whether the kernel has a single tap."""
        return math.prod(self.taps) == 1

    @property
    def flop(self) -> int:
        """Floating-point operations."""
        return 2 * math.prod(self.output) * (self.in_channels // self.groups) * math.prod(self.taps)

    @property
    def inputs(self) -> list[tuple[int, ...]]:
        """The shapes of data and kernel."""
        kernel = (self.out_channels, self.in_channels // self.groups, *self.taps)
        return [(self.batch, self.in_channels, *self.size), kernel]

    def reference(self, inputs: list[NDArray[Any]]) -> NDArray[Any]:
        """Return the output of data and kernel: one matrix product per tap of the kernel."""
        import numpy as np

        data, kernel = inputs
        padded = np.pad(data, ((0, 0), (0, 0), *self.margins))
        groups, size, (ins, outs) = self.groups, self.out_size, self.group_channels
        weights = kernel.reshape(groups, outs, ins, -1)
        out = np.zeros((self.batch, groups, outs, math.prod(size)), data.dtype)
        for number, tap in enumerate(np.ndindex(self.taps)):
            window = zip(tap, self.dilation, size, self.strides, strict=True)
            steps = tuple(_steps(place * d, count, stride) for place, d, count, stride in window)
            seen = padded[_ALL + steps].reshape(self.batch, groups, -1, math.prod(size))
            out += _product(np.ascontiguousarray(weights[..., number]), seen)
        return out.reshape(self.batch, self.out_channels, *size)


@dataclass(frozen=True)
class Conv1d(ConvNd):
    """A one-dimensional convolution, NCW times OIW."""

    axes = 1


@dataclass(frozen=True)
class Conv2d(ConvNd):
    """A two-dimensional convolution, NCHW times OIHW."""

    axes = 2
    strides: tuple[int, int]
    padding: tuple[int, int, int, int]
    dilation: tuple[int, int]


@dataclass(frozen=True)
class Conv3d(ConvNd):
    """A three-dimensional convolution, NCDHW times OIDHW."""

    axes = 3


@dataclass(frozen=True)
class Conv2dNHWC(Conv2d):
    """A two-dimensional convolution without groups, NHWC times HWIO, whose output may be of a type of its own.

    Arguments of the task: `[data, kernel, strides, padding, dilation, dtype of the output]`, as for `Conv2d`.
    """

    out_dtype: str = ""

    @classmethod
    def parse(cls, args: list[Any]) -> Self:
        """Read a task's arguments; InputError where they are not of that form."""
        what = "a convolution with channels last"
        values = named(f"{CONVOLUTION} out_dtype", args, what)
        (n, h, w, ci), (kh, kw, ci_kernel, co), dtype = data_and_kernel(values, args, what, rank=4)
        strides, padding, dilation = (tuple(values[name]) for name in ("strides", "padding", "dilation"))
        check_sizes(args, (n, ci, h, w, co, ci_kernel, kh, kw, *strides, *dilation), padding)
        if ci != ci_kernel or values["kernel"][2] != dtype:
            raise InputError(f"the channels or types of data and kernel do not fit: {shown(args)}")
        out_dtype = values["out_dtype"] or dtype
        conv = cls(n, ci, (h, w), co, (kh, kw), strides, padding, dilation, dtype, out_dtype=out_dtype)
        check_tensors(args, conv)
        return conv

    @property
    def inputs(self) -> list[tuple[int, ...]]:
        """The shapes of data and kernel."""
        return [(self.batch, *self.size, self.in_channels), (*self.taps, self.in_channels, self.out_channels)]

    @property
    def output(self) -> tuple[int, ...]:
        """The shape of the output."""
        return self.batch, *self.out_size, self.out_channels

    def reference(self, inputs: list[NDArray[Any]]) -> NDArray[Any]:
        """Return the output of data and kernel."""
        data, kernel = inputs
        return super().reference([data.transpose(0, 3, 1, 2), kernel.transpose(3, 2, 0, 1)]).transpose(0, 2, 3, 1)


_TRANSPOSED_DEFAULTS = [0, 1]
"""Of the last arguments of a transposed convolution."""


@dataclass(frozen=True)
class TransposedConvNd(_Convolution):
    """A transposed convolution over any number of axes, `[N, C, …]` times `[C, O / groups, …]`.

    Arguments of the task: `[data, kernel, strides, padding, dtype, output padding, groups]`, the padding as
    for `ConvNd`. `out_channels` counts all groups. TVM 0.7 had neither of the last two, and there are no groups
    for one axis.
    """

    output_padding: tuple[int, ...]
    groups: int
    dtype: str

    axes: ClassVar[int]
    """How many axes the kernel moves along."""

    @classmethod
    def parse(cls, args: list[Any]) -> Self:
        """Read a task's arguments; InputError where they are not of that form."""
        what = "a transposed convolution"
        unsaid = len(TRANSPOSED.split()) - len(args)
        values = named(TRANSPOSED, [*args, *(_TRANSPOSED_DEFAULTS[-unsaid:] if unsaid > 0 else [])], what, cls.axes)
        (n, ci, *size), (ci_kernel, co, *taps), dtype = data_and_kernel(values, args, what, rank=2 + cls.axes)
        strides, padding, extra = (tuple(values[name]) for name in ("strides", "padding", "output_padding"))
        groups = values["groups"]
        check_sizes(args, (n, ci, *size, ci_kernel, co, *taps, *strides, groups), (*padding, *extra))
        fits = ci == ci_kernel and ci % groups == 0 and values["out_dtype"] == dtype
        if not fits or any(more >= stride for more, stride in zip(extra, strides, strict=True)):
            raise InputError(f"the channels, groups, types or output padding do not fit: {shown(args)}")
        conv = cls(n, ci, tuple(size), co * groups, tuple(taps), strides, padding, extra, groups, dtype)
        check_tensors(args, conv)
        return conv

    @property
    def out_size(self) -> tuple[int, ...]:
        """The output along each axis."""
        sizes = zip(self.size, self.strides, self.taps, self.margins, self.output_padding, strict=True)
        return tuple((size - 1) * s + taps - sum(cropped) + extra for size, s, taps, cropped, extra in sizes)

    @property
    def flop(self) -> int:
        """Floating-point operations, without those on inserted zeros."""
        spread = self.batch * self.in_channels * math.prod(self.size)
        return 2 * spread * (self.out_channels // self.groups) * math.prod(self.taps)

    @property
    def inputs(self) -> list[tuple[int, ...]]:
        """The shapes of data and kernel."""
        kernel = (self.in_channels, self.out_channels // self.groups, *self.taps)
        return [(self.batch, self.in_channels, *self.size), kernel]

    def reference(self, inputs: list[NDArray[Any]]) -> NDArray[Any]:
        """Return the output of data and kernel: each tap's contribution, added up and cropped."""
        import numpy as np

        data, kernel = inputs
        groups, ins, outs = self.groups, self.in_channels // self.groups, self.out_channels // self.groups
        seen = data.reshape(self.batch, groups, ins, -1)
        weights = kernel.reshape(groups, ins, outs, -1).swapaxes(1, 2)
        whole = [length + sum(cropped) for length, cropped in zip(self.out_size, self.margins, strict=True)]
        full = np.zeros((self.batch, groups * outs, *whole), data.dtype)
        for number, tap in enumerate(np.ndindex(self.taps)):
            spread = _product(np.ascontiguousarray(weights[..., number]), seen)
            steps = tuple(map(_steps, tap, self.size, self.strides))
            full[_ALL + steps] += spread.reshape(self.batch, groups * outs, *self.size)
        kept = zip(self.margins, self.out_size, strict=True)
        return full[_ALL + tuple(slice(front, front + length) for (front, _), length in kept)]


@dataclass(frozen=True)
class TransposedConv1d(TransposedConvNd):
    """A one-dimensional transposed convolution, NCW times IOW."""

    axes = 1


@dataclass(frozen=True)
class TransposedConv2d(TransposedConvNd):
    """A two-dimensional transposed convolution, NCHW times IOHW."""

    axes = 2
    strides: tuple[int, int]
    padding: tuple[int, int, int, int]
    output_padding: tuple[int, int]


def _steps(first: int, count: int, stride: int) -> slice:
    return slice(first, first + (count - 1) * stride + 1, stride)


def _product(weights: NDArray[Any], seen: NDArray[Any]) -> NDArray[Any]:
    """Multiply `[groups, outputs, inputs]` by `[batch, groups, inputs, pixels]`."""
    # A matrix product calls BLAS once per group; with one channel per group, one elementwise product does it all.
    product: NDArray[Any] = weights * seen if weights.shape[-1] == 1 else weights @ seen
    return product
