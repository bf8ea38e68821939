"""Tensor intrinsics: what a warp does with tiles, as TIR describes it and by the function in CUDA that does it.

In TIR a tile that a warp holds is a buffer in `local` memory, of which each thread uses the first elements.
"""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any, NamedTuple

SHARED = "shared.dyn"
"""Where factors are read from."""

WARP = 32

Shape = tuple[int, int]


class Function(NamedTuple):
    """A function in CUDA.

    Attributes
    ----------
    name
        Its name.
    code
        The source that defines it.
    """

    name: str
    code: str


class Intrinsic(NamedTuple):
    """A description, which matches a block of a kernel, and what replaces the block."""

    description: Any
    implementation: Any


@functools.cache
def function(file: str, name: str) -> Function:
    """Return the function `tophub_NAME` of a file in this folder."""
    return Function(f"tophub_{name}", Path(__file__).with_name(file).read_text(encoding="utf-8"))


def register(name: str, intrinsic: Intrinsic) -> str:
    """Register a tensor intrinsic with TVM, and return its name."""
    from tvm.s_tir import TensorIntrin

    TensorIntrin.register(name, *intrinsic, override=True)
    return name


def copy(does: Function, shape: Shape, dtype: str, source: str, target: str) -> Intrinsic:
    """Return the copying of a tile from one memory to another, one of which is `local`.

    The function takes where to copy to and from, and the distance of rows in the memory that is not local.
    """
    from tvm.script import tirx as T  # noqa: N812  # as TVM script calls it

    (rows, columns), (name, code) = shape, does
    strided = int(source == "local")

    @T.prim_func(s_tir=True)  # type: ignore[untyped-decorator]
    def description(to: T.handle, from_: T.handle) -> None:
        S = T.match_buffer(from_, (rows, columns), dtype, align=64, offset_factor=1, scope=source)
        D = T.match_buffer(to, (rows, columns), dtype, align=64, offset_factor=1, scope=target)
        with T.sblock("root"):
            T.reads(S[0:rows, 0:columns])
            T.writes(D[0:rows, 0:columns])
            for i, j in T.grid(rows, columns):
                with T.sblock("copy"):
                    vi, vj = T.axis.remap("SS", [i, j])
                    D[vi, vj] = S[vi, vj]

    @T.prim_func(s_tir=True)  # type: ignore[untyped-decorator]
    def implementation(to: T.handle, from_: T.handle) -> None:
        s0 = T.int32()
        s1 = T.int32()
        d0 = T.int32()
        d1 = T.int32()
        S = T.match_buffer(from_, (rows, columns), dtype, align=64, offset_factor=1, scope=source, strides=[s0, s1])
        D = T.match_buffer(to, (rows, columns), dtype, align=64, offset_factor=1, scope=target, strides=[d0, d1])
        with T.sblock("root"):
            T.reads(S[0:rows, 0:columns])
            T.writes(D[0:rows, 0:columns])
            T.evaluate(
                T.cuda.func_call(name, D.access_ptr("w"), S.access_ptr("r"), (s0, d0)[strided], source_code=code)
            )

    return Intrinsic(description, implementation)


def clear(does: Function, shape: Shape, dtype: str) -> Intrinsic:
    """Return the setting of a tile of sums to zero; the function takes the sums."""
    from tvm.script import tirx as T  # noqa: N812  # as TVM script calls it
    from tvm.tirx import const

    (rows, columns), (name, code) = shape, does
    zero = const(0, dtype)

    @T.prim_func(s_tir=True)  # type: ignore[untyped-decorator]
    def description(sums: T.handle) -> None:
        C = T.match_buffer(sums, (rows, columns), dtype, align=64, offset_factor=1, scope="local")
        with T.sblock("root"):
            T.reads()
            T.writes(C[0:rows, 0:columns])
            for i, j in T.grid(rows, columns):
                with T.sblock("clear"):
                    vi, vj = T.axis.remap("SS", [i, j])
                    C[vi, vj] = zero

    @T.prim_func(s_tir=True)  # type: ignore[untyped-decorator]
    def implementation(sums: T.handle) -> None:
        c0 = T.int32()
        c1 = T.int32()
        C = T.match_buffer(sums, (rows, columns), dtype, align=64, offset_factor=1, scope="local", strides=[c0, c1])
        with T.sblock("root"):
            T.reads()
            T.writes(C[0:rows, 0:columns])
            T.evaluate(T.cuda.func_call(name, C.access_ptr("w"), source_code=code))

    return Intrinsic(description, implementation)


def add_split(does: Function, shape: Shape, depth: int) -> Intrinsic:
    """Return the addition of products in which each weight is the sum of two; all are float32.

    The function takes the sums, the data, the weights' first parts, and how many elements further the second ones are.
    Data and weights are in shared memory.
    """
    from tvm.script import tirx as T  # noqa: N812  # as TVM script calls it

    (rows, columns), (name, code), dtype = shape, does, "float32"

    @T.prim_func(s_tir=True)  # type: ignore[untyped-decorator]
    def description(data: T.handle, weights: T.handle, sums: T.handle) -> None:
        A = T.match_buffer(data, (rows, depth), dtype, align=64, offset_factor=1, scope=SHARED)
        B = T.match_buffer(weights, (2, columns, depth), dtype, align=64, offset_factor=1, scope=SHARED)
        C = T.match_buffer(sums, (rows, columns), dtype, align=64, offset_factor=1, scope="local")
        with T.sblock("root"):
            T.reads(C[0:rows, 0:columns], A[0:rows, 0:depth], B[0:2, 0:columns, 0:depth])
            T.writes(C[0:rows, 0:columns])
            for i, j, k in T.grid(rows, columns, depth):
                with T.sblock("add"):
                    vi, vj, vk = T.axis.remap("SSR", [i, j, k])
                    C[vi, vj] = C[vi, vj] + A[vi, vk] * (B[0, vj, vk] + B[1, vj, vk])

    @T.prim_func(s_tir=True)  # type: ignore[untyped-decorator]
    def implementation(data: T.handle, weights: T.handle, sums: T.handle) -> None:
        a0 = T.int32()
        a1 = T.int32()
        b0 = T.int32()
        b1 = T.int32()
        b2 = T.int32()
        c0 = T.int32()
        c1 = T.int32()
        A = T.match_buffer(data, (rows, depth), dtype, align=64, offset_factor=1, scope=SHARED, strides=[a0, a1])
        B = T.match_buffer(
            weights, (2, columns, depth), dtype, align=64, offset_factor=1, scope=SHARED, strides=[b0, b1, b2]
        )
        C = T.match_buffer(sums, (rows, columns), dtype, align=64, offset_factor=1, scope="local", strides=[c0, c1])
        with T.sblock("root"):
            T.reads(C[0:rows, 0:columns], A[0:rows, 0:depth], B[0:2, 0:columns, 0:depth])
            T.writes(C[0:rows, 0:columns])
            T.evaluate(
                T.cuda.func_call(name, C.access_ptr("rw"), A.access_ptr("r"), B.access_ptr("r"), b0, source_code=code)
            )

    return Intrinsic(description, implementation)


def add(
    does: Function,
    shape: Shape,
    depth: int,
    dtype: str,
    sums_dtype: str,
    *,
    transposed: bool = True,
    factors: str = "local",
) -> Intrinsic:
    """Return the addition of products to a tile of sums; the function takes the sums, the data and the weights.

    Parameters
    ----------
    shape
        Of the sums.
    depth
        How many products each sum gets.
    dtype, sums_dtype
        The types of data and weights, and of the sums.
    factors
        The memory of data and weights.
    transposed
        Whether the weights have a row for each column of the sums; else they have one for each product.
    """
    from tvm.script import tirx as T  # noqa: N812  # as TVM script calls it
    from tvm.tirx import Cast

    (rows, columns), (name, code) = shape, does
    high, wide = (columns, depth) if transposed else (depth, columns)

    def exact(value: Any) -> Any:
        return value if dtype == sums_dtype else Cast(sums_dtype, value)

    def weight(weights: Any, column: Any, product: Any) -> Any:
        return exact(weights[column, product] if transposed else weights[product, column])

    @T.prim_func(s_tir=True)  # type: ignore[untyped-decorator]
    def description(data: T.handle, weights: T.handle, sums: T.handle) -> None:
        A = T.match_buffer(data, (rows, depth), dtype, align=64, offset_factor=1, scope=factors)
        B = T.match_buffer(weights, (high, wide), dtype, align=64, offset_factor=1, scope=factors)
        C = T.match_buffer(sums, (rows, columns), sums_dtype, align=64, offset_factor=1, scope="local")
        with T.sblock("root"):
            T.reads(C[0:rows, 0:columns], A[0:rows, 0:depth], B[0:high, 0:wide])
            T.writes(C[0:rows, 0:columns])
            for i, j, k in T.grid(rows, columns, depth):
                with T.sblock("add"):
                    vi, vj, vk = T.axis.remap("SSR", [i, j, k])
                    C[vi, vj] = C[vi, vj] + exact(A[vi, vk]) * weight(B, vj, vk)

    @T.prim_func(s_tir=True)  # type: ignore[untyped-decorator]
    def implementation(data: T.handle, weights: T.handle, sums: T.handle) -> None:
        a0 = T.int32()
        a1 = T.int32()
        b0 = T.int32()
        b1 = T.int32()
        c0 = T.int32()
        c1 = T.int32()
        A = T.match_buffer(data, (rows, depth), dtype, align=64, offset_factor=1, scope=factors, strides=[a0, a1])
        B = T.match_buffer(weights, (high, wide), dtype, align=64, offset_factor=1, scope=factors, strides=[b0, b1])
        C = T.match_buffer(
            sums, (rows, columns), sums_dtype, align=64, offset_factor=1, scope="local", strides=[c0, c1]
        )
        with T.sblock("root"):
            T.reads(C[0:rows, 0:columns], A[0:rows, 0:depth], B[0:high, 0:wide])
            T.writes(C[0:rows, 0:columns])
            T.evaluate(
                T.cuda.func_call(name, C.access_ptr("rw"), A.access_ptr("r"), B.access_ptr("r"), source_code=code)
            )

    return Intrinsic(description, implementation)
