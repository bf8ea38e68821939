"""Tensor cores: the precisions, and what a warp does with tiles as TVM's tensor intrinsics, whose code is `mma.cuh`.

In TIR a tile of 16 x 16 sums, or of 16 x K factors, is a buffer in `local` memory, of which each thread uses the first
elements.
"""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any, Literal, NamedTuple

from tophub_registry.records.tensor_cores import TILE

WARP = 32

SHARED = "shared.dyn"
"""Where factors are read from."""

PASS_CONFIG: dict[str, bool] = {"tirx.use_async_copy": True, "tirx.disable_storage_rewrite": True}
"""What TVM must be told when it compiles such kernels: copies go on beside the computation, and sums in `local` memory
keep their place, for which TVM would otherwise take the factors', of another type."""

Name = Literal["float16", "tf32", "3xtf32"]


class Precision(NamedTuple):
    """How products are computed. Sums are float32 in all of them.

    Attributes
    ----------
    name
        `float16`; `tf32`: factors rounded to ten bits; `3xtf32`: each factor as the sum of two of TF32, three products.
    dtype
        The type of data and weights in memory.
    depth
        K: how many channels an instruction adds up.
    """

    name: Name
    dtype: str
    depth: int

    @property
    def bytes(self) -> int:
        """The bytes of an element."""
        return 2 if self.dtype == "float16" else 4

    @property
    def vector(self) -> int:
        """How many elements have 16 bytes, which are copied at once."""
        return 16 // self.bytes


PRECISIONS: dict[Name, Precision] = {
    "float16": Precision("float16", "float16", 16),
    "tf32": Precision("tf32", "float32", 8),
    "3xtf32": Precision("3xtf32", "float32", 8),
}


class Intrinsics(NamedTuple):
    """The names of a precision's tensor intrinsics: for loading tiles, adding products, clearing and storing sums."""

    data: str
    weights: str
    add: str
    clear: str
    store_shared: str
    store_global: str


@functools.cache
def intrinsics(precision: Precision) -> Intrinsics:
    """Register a precision's tensor intrinsics with TVM."""
    rounded = "_rounded" if precision.name == "tf32" else ""
    return Intrinsics(
        _register(f"tophub.{precision.name}.data", _load(f"tophub_load_data{rounded}", precision)),
        _register(f"tophub.{precision.name}.weights", _load(f"tophub_load_weights{rounded}", precision)),
        _register(f"tophub.{precision.name}.add", _add(f"tophub_add_{precision.name}", precision)),
        _register("tophub.clear", _clear()),
        _register("tophub.store_shared", _store(SHARED)),
        _register("tophub.store_global", _store("global")),
    )


def _register(name: str, pair: tuple[Any, Any]) -> str:
    from tvm.s_tir import TensorIntrin

    TensorIntrin.register(name, *pair, override=True)
    return name


@functools.cache
def _code() -> str:
    return Path(__file__).with_suffix(".cuh").read_text(encoding="utf-8")


def _load(function: str, precision: Precision) -> tuple[Any, Any]:
    """Return the loading of a tile, 16 x K, as TIR describes it and as it is done."""
    from tvm.script import tirx as T  # noqa: N812  # as TVM script calls it

    depth, dtype, code = precision.depth, precision.dtype, _code()

    @T.prim_func(s_tir=True)  # type: ignore[untyped-decorator]
    def description(to: T.handle, source: T.handle) -> None:
        S = T.match_buffer(source, (TILE, depth), dtype, align=64, offset_factor=1, scope=SHARED)
        D = T.match_buffer(to, (TILE, depth), dtype, align=64, offset_factor=1, scope="local")
        with T.sblock("root"):
            T.reads(S[0:TILE, 0:depth])
            T.writes(D[0:TILE, 0:depth])
            for i, j in T.grid(TILE, depth):
                with T.sblock("load"):
                    vi, vj = T.axis.remap("SS", [i, j])
                    D[vi, vj] = S[vi, vj]

    @T.prim_func(s_tir=True)  # type: ignore[untyped-decorator]
    def load(to: T.handle, source: T.handle) -> None:
        s0 = T.int32()
        s1 = T.int32()
        d0 = T.int32()
        d1 = T.int32()
        S = T.match_buffer(source, (TILE, depth), dtype, align=64, offset_factor=1, scope=SHARED, strides=[s0, s1])
        D = T.match_buffer(to, (TILE, depth), dtype, align=64, offset_factor=1, scope="local", strides=[d0, d1])
        with T.sblock("root"):
            T.reads(S[0:TILE, 0:depth])
            T.writes(D[0:TILE, 0:depth])
            T.evaluate(T.cuda.func_call(function, D.access_ptr("w"), S.access_ptr("r"), s0, source_code=code))

    return description, load


def _add(function: str, precision: Precision) -> tuple[Any, Any]:
    """Return the addition of products, 16 x K times K x 16, to 16 x 16 sums."""
    from tvm.script import tirx as T  # noqa: N812  # as TVM script calls it
    from tvm.tirx import Cast

    depth, dtype, code = precision.depth, precision.dtype, _code()

    def exact(value: Any) -> Any:
        return value if dtype == "float32" else Cast("float32", value)

    @T.prim_func(s_tir=True)  # type: ignore[untyped-decorator]
    def description(data: T.handle, weights: T.handle, sums: T.handle) -> None:
        A = T.match_buffer(data, (TILE, depth), dtype, align=64, offset_factor=1, scope="local")
        B = T.match_buffer(weights, (TILE, depth), dtype, align=64, offset_factor=1, scope="local")
        C = T.match_buffer(sums, (TILE, TILE), "float32", align=64, offset_factor=1, scope="local")
        with T.sblock("root"):
            T.reads(C[0:TILE, 0:TILE], A[0:TILE, 0:depth], B[0:TILE, 0:depth])
            T.writes(C[0:TILE, 0:TILE])
            for i, j, k in T.grid(TILE, TILE, depth):
                with T.sblock("add"):
                    vi, vj, vk = T.axis.remap("SSR", [i, j, k])
                    C[vi, vj] = C[vi, vj] + exact(A[vi, vk]) * exact(B[vj, vk])

    @T.prim_func(s_tir=True)  # type: ignore[untyped-decorator]
    def add(data: T.handle, weights: T.handle, sums: T.handle) -> None:
        a0 = T.int32()
        a1 = T.int32()
        b0 = T.int32()
        b1 = T.int32()
        c0 = T.int32()
        c1 = T.int32()
        A = T.match_buffer(data, (TILE, depth), dtype, align=64, offset_factor=1, scope="local", strides=[a0, a1])
        B = T.match_buffer(weights, (TILE, depth), dtype, align=64, offset_factor=1, scope="local", strides=[b0, b1])
        C = T.match_buffer(sums, (TILE, TILE), "float32", align=64, offset_factor=1, scope="local", strides=[c0, c1])
        with T.sblock("root"):
            T.reads(C[0:TILE, 0:TILE], A[0:TILE, 0:depth], B[0:TILE, 0:depth])
            T.writes(C[0:TILE, 0:TILE])
            T.evaluate(
                T.cuda.func_call(function, C.access_ptr("rw"), A.access_ptr("r"), B.access_ptr("r"), source_code=code)
            )

    return description, add


def _clear() -> tuple[Any, Any]:
    """Return the setting of 16 x 16 sums to zero."""
    from tvm.script import tirx as T  # noqa: N812  # as TVM script calls it

    code = _code()

    @T.prim_func(s_tir=True)  # type: ignore[untyped-decorator]
    def description(sums: T.handle) -> None:
        C = T.match_buffer(sums, (TILE, TILE), "float32", align=64, offset_factor=1, scope="local")
        with T.sblock("root"):
            T.reads()
            T.writes(C[0:TILE, 0:TILE])
            for i, j in T.grid(TILE, TILE):
                with T.sblock("clear"):
                    vi, vj = T.axis.remap("SS", [i, j])
                    C[vi, vj] = T.float32(0)

    @T.prim_func(s_tir=True)  # type: ignore[untyped-decorator]
    def clear(sums: T.handle) -> None:
        c0 = T.int32()
        c1 = T.int32()
        C = T.match_buffer(sums, (TILE, TILE), "float32", align=64, offset_factor=1, scope="local", strides=[c0, c1])
        with T.sblock("root"):
            T.reads()
            T.writes(C[0:TILE, 0:TILE])
            T.evaluate(T.cuda.func_call("tophub_clear", C.access_ptr("w"), source_code=code))

    return description, clear


def _store(scope: str) -> tuple[Any, Any]:
    """Return the writing of 16 x 16 sums to shared or global memory."""
    from tvm.script import tirx as T  # noqa: N812  # as TVM script calls it

    code = _code()

    @T.prim_func(s_tir=True)  # type: ignore[untyped-decorator]
    def description(sums: T.handle, to: T.handle) -> None:
        C = T.match_buffer(sums, (TILE, TILE), "float32", align=64, offset_factor=1, scope="local")
        D = T.match_buffer(to, (TILE, TILE), "float32", align=64, offset_factor=1, scope=scope)
        with T.sblock("root"):
            T.reads(C[0:TILE, 0:TILE])
            T.writes(D[0:TILE, 0:TILE])
            for i, j in T.grid(TILE, TILE):
                with T.sblock("store"):
                    vi, vj = T.axis.remap("SS", [i, j])
                    D[vi, vj] = C[vi, vj]

    @T.prim_func(s_tir=True)  # type: ignore[untyped-decorator]
    def store(sums: T.handle, to: T.handle) -> None:
        c0 = T.int32()
        c1 = T.int32()
        d0 = T.int32()
        d1 = T.int32()
        C = T.match_buffer(sums, (TILE, TILE), "float32", align=64, offset_factor=1, scope="local", strides=[c0, c1])
        D = T.match_buffer(to, (TILE, TILE), "float32", align=64, offset_factor=1, scope=scope, strides=[d0, d1])
        with T.sblock("root"):
            T.reads(C[0:TILE, 0:TILE])
            T.writes(D[0:TILE, 0:TILE])
            T.evaluate(T.cuda.func_call("tophub_store", D.access_ptr("w"), C.access_ptr("r"), d0, source_code=code))

    return description, store
