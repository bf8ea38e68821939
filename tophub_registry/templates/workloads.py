"""The workloads of tasks: a task's arguments as named numbers.

Sizes count elements; `flop` counts a multiplication and an addition as two, as in AutoTVM. Each workload has the
shapes of its tensors in the model's layout, and a reference computation in NumPy.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, TypeVar

from tophub_registry.errors import InputError
from tophub_registry.records.arguments import (
    BATCHED,
    CONVOLUTION,
    DENSE,
    GROUPED,
    TRANSPOSED,
    ArgumentError,
    shown,
    take,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from typing_extensions import Self


MAX_SIZE = 1 << 20
"""The largest axis, stride, dilation or padding of a workload."""

MAX_ELEMENTS = (1 << 31) - 1
"""The most elements of a tensor: kernels count them in 32 bits."""


class Workload(Protocol):
    """What all workloads have."""

    @property
    def flop(self) -> int:
        """Floating-point operations."""

    @property
    def inputs(self) -> list[tuple[int, ...]]:
        """The shapes of the inputs, in the model's layout."""

    @property
    def output(self) -> tuple[int, ...]:
        """The shape of the output, in the model's layout."""

    @property
    def dtype(self) -> str:
        """The type of inputs and output."""

    def reference(self, inputs: list[NDArray[Any]]) -> NDArray[Any]:
        """Return the output for inputs in the model's layout, computed by NumPy in the inputs' dtype."""


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
        (n, ci, *size), (co, ci_kernel, *taps), dtype = _tensors(values, args, "a convolution", rank=2 + cls.axes)
        strides, padding, dilation = (tuple(values[name]) for name in ("strides", "padding", "dilation"))
        check_sizes(args, (n, ci, *size, co, ci_kernel, *taps, *strides, *dilation), padding)
        groups, rest = divmod(ci, ci_kernel)
        if rest or not groups or co % groups or args[-1] != dtype:
            raise InputError(f"the channels or types of data and kernel do not fit: {shown(args)}")
        conv = cls(n, ci, tuple(size), co, tuple(taps), strides, padding, dilation, dtype, groups)
        check_tensors(args, conv)
        return conv

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
        groups, size = self.groups, self.out_size
        weights = kernel.reshape(groups, self.out_channels // groups, self.in_channels // groups, -1)
        out = np.zeros((self.batch, groups, self.out_channels // groups, math.prod(size)), data.dtype)
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
        (n, h, w, ci), (kh, kw, ci_kernel, co), dtype = _tensors(values, args, what, rank=4)
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
        (n, ci, *size), (ci_kernel, co, *taps), dtype = _tensors(values, args, what, rank=2 + cls.axes)
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


@dataclass(frozen=True)
class Matmul:
    """A dense layer: data `[batch, in_units]` times the transposed weight `[out_units, in_units]`.

    Arguments of the task: `[data, weight, bias, dtype of the output]`; the bias is null.
    """

    batch: int
    in_units: int
    out_units: int
    dtype: str
    out_dtype: str

    @staticmethod
    def parse(args: list[Any]) -> Matmul:
        """Read the arguments of a layer in one type, or raise an InputError."""
        return _in_one_type(Matmul.parse_mixed(args), args)

    @staticmethod
    def parse_mixed(args: list[Any]) -> Matmul:
        """Read the arguments of a layer whose output may be of a type of its own, or raise an InputError."""
        values = named(DENSE, args, "a dense layer")
        (m, k), (n, k_weight), dtype = _tensors(values, args, "a dense layer", rank=2)
        check_sizes(args, (m, k, n, k_weight))
        if k != k_weight or values["kernel"][2] != dtype or values["bias"] is not None:
            raise InputError(f"the shapes or types of data and weight do not fit, or there is a bias: {shown(args)}")
        dense = Matmul(m, k, n, dtype, values["out_dtype"] or dtype)
        check_tensors(args, dense)
        return dense

    @property
    def flop(self) -> int:
        """Floating-point operations."""
        return 2 * self.batch * self.in_units * self.out_units

    @property
    def inputs(self) -> list[tuple[int, ...]]:
        """The shapes of data and weight."""
        return [(self.batch, self.in_units), (self.out_units, self.in_units)]

    @property
    def output(self) -> tuple[int, ...]:
        """The shape of the output."""
        return self.batch, self.out_units

    def reference(self, inputs: list[NDArray[Any]]) -> NDArray[Any]:
        """Return the output of data and weight."""
        data, weight = inputs
        product: NDArray[Any] = data @ weight.T
        return product


@dataclass(frozen=True)
class BatchMatmul:
    """Products of matrices: `[batch, rows, in_units]` times `[batch, in_units, columns]`, either one transposed or not.

    Arguments of the task: `[data, kernel, output shape, dtype of the output, transpose data, transpose kernel]`, of
    which only the first two need be given: then the second one is transposed, `[batch, columns, in_units]`.
    """

    batch: int
    rows: int
    in_units: int
    columns: int
    transposed: tuple[bool, bool]
    dtype: str
    out_dtype: str

    @staticmethod
    def parse(args: list[Any]) -> BatchMatmul:
        """Read the arguments of products in one type, or raise an InputError."""
        return _in_one_type(BatchMatmul.parse_mixed(args), args)

    @staticmethod
    def parse_mixed(args: list[Any]) -> BatchMatmul:
        """Read the arguments of products whose output may be of a type of its own, or raise an InputError."""
        what = "a batch of matrix products"
        values = named(BATCHED, [*args, *_BATCHED_DEFAULTS[len(args) :]], what)
        data, kernel, dtype = _tensors(values, args, what, rank=3)
        transposed = bool(values["transpose_a"]), bool(values["transpose_b"])
        rows, in_units = data[1:][::-1] if transposed[0] else data[1:]
        columns, in_units_kernel = kernel[1:] if transposed[1] else kernel[1:][::-1]
        check_sizes(args, (*data, *kernel))
        product = BatchMatmul(data[0], rows, in_units, columns, transposed, dtype, values["out_dtype"] or dtype)
        fits = data[0] == kernel[0] and in_units == in_units_kernel and values["kernel"][2] == dtype
        if not fits or values["out_shape"] not in (None, [*product.output]):
            raise InputError(f"the shapes or types of the two factors and the output do not fit: {shown(args)}")
        check_tensors(args, product)
        return product

    @property
    def flop(self) -> int:
        """Floating-point operations."""
        return 2 * self.batch * self.rows * self.in_units * self.columns

    @property
    def inputs(self) -> list[tuple[int, ...]]:
        """The shapes of both factors."""
        data, kernel = (self.rows, self.in_units), (self.in_units, self.columns)
        shapes = zip((data, kernel), self.transposed, strict=True)
        return [(self.batch, *(shape[::-1] if transposed else shape)) for shape, transposed in shapes]

    @property
    def output(self) -> tuple[int, ...]:
        """The shape of the output."""
        return self.batch, self.rows, self.columns

    def reference(self, inputs: list[NDArray[Any]]) -> NDArray[Any]:
        """Return the products."""
        pairs = zip(inputs, self.transposed, strict=True)
        data, kernel = (array.transpose(0, 2, 1) if transposed else array for array, transposed in pairs)
        product: NDArray[Any] = data @ kernel
        return product


_BATCHED_DEFAULTS = [None, None, None, None, 0, 1]
"""Of the arguments of a batch of matrix products; the first two have none."""


_Product = TypeVar("_Product", Matmul, BatchMatmul)


def _in_one_type(product: _Product, args: list[Any]) -> _Product:
    """Return matrix products, or raise an InputError if their output is of another type than the factors."""
    if product.out_dtype != product.dtype:
        raise InputError(f"the types of the factors and the output do not fit: {shown(args)}")
    return product


def named(names: str, args: list[Any], what: str, axes: int = 2) -> dict[str, Any]:
    """Read arguments by name; InputError if there are too few or too many, or one has the wrong form."""
    try:
        values = take(names, args, axes)
    except ArgumentError as error:
        raise InputError(f"not the arguments of {what}: {error.message} in {shown(args)}") from None
    if len(args) != len(names.split()):
        raise InputError(f"not the arguments of {what}: {shown(args)}")
    return values


def _tensors(values: dict[str, Any], args: list[Any], what: str, *, rank: int) -> tuple[list[int], list[int], str]:
    """Return the shapes of data and kernel, and the dtype; InputError if the shapes have another rank."""
    (_, data, dtype), (_, kernel, _) = values["data"], values["kernel"]
    if len(data) != rank or len(kernel) != rank:
        raise InputError(f"not the arguments of {what}: {shown(args)}")
    return data, kernel, dtype


def check_sizes(args: list[Any], sizes: Sequence[Any], margins: Sequence[Any] = ()) -> None:
    """Raise an InputError unless all sizes are integers from 1 to MAX_SIZE, and all margins from 0."""
    for number, least in (*((size, 1) for size in sizes), *((margin, 0) for margin in margins)):
        if type(number) is not int or not least <= number <= MAX_SIZE:
            told = shown(number) if isinstance(number, int) else type(number).__name__
            raise InputError(f"{told} is not an integer from {least} to {MAX_SIZE}: {shown(args)}")


def check_tensors(args: list[Any], workload: Workload) -> None:
    """Raise an InputError if the output is empty, or a tensor is too large."""
    if min(workload.output) < 1:
        raise InputError(f"the kernel is larger than the padded data: {shown(args)}")
    if max(map(math.prod, (*workload.inputs, workload.output))) > MAX_ELEMENTS:
        raise InputError(f"a tensor has more than {MAX_ELEMENTS} elements: {shown(args)}")


def _steps(first: int, count: int, stride: int) -> slice:
    return slice(first, first + (count - 1) * stride + 1, stride)


def _product(weights: NDArray[Any], seen: NDArray[Any]) -> NDArray[Any]:
    """Multiply `[groups, outputs, inputs]` by `[batch, groups, inputs, pixels]`."""
    # A matrix product calls BLAS once per group; with one channel per group, one elementwise product does it all.
    product: NDArray[Any] = weights * seen if weights.shape[-1] == 1 else weights @ seen
    return product
