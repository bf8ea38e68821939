"""The workloads of products of matrices: dense layers, and batches of products."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from tophub_registry.errors import InputError
from tophub_registry.records.arguments import BATCHED, DENSE, shown
from tophub_registry.templates.workloads import check_sizes, check_tensors, data_and_kernel, named

if TYPE_CHECKING:
    from numpy.typing import NDArray


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
        (m, k), (n, k_weight), dtype = data_and_kernel(values, args, "a dense layer", rank=2)
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
        data, kernel, dtype = data_and_kernel(values, args, what, rank=3)
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
