"""Tensor cores: the precisions, and what a warp does with tiles of 16 x 16 sums and 16 x K factors.

The code is `mma.cuh`.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from tophub_registry.records.tensor_cores import TILE
from tophub_registry.templates.tensor_intrinsics import SHARED, Function, add, clear, copy, function, register

if TYPE_CHECKING:
    from numpy.typing import NDArray

_CODE = "mma.cuh"

PASS_CONFIG: dict[str, bool] = {"tirx.use_async_copy": True, "tirx.disable_storage_rewrite": True}
"""What TVM must be told when it compiles such kernels: copies go on beside the computation, and sums in `local` memory
keep their place, for which TVM would otherwise take the factors', of another type."""

_HALF, _KEPT = 0x1000, 0xFFFFE000
"""Half of the last bit that TF32 has of a float32, and all bits that it has: halves are rounded away from zero."""

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

    def rounded(self, numbers: NDArray[Any]) -> NDArray[Any]:
        """Return numbers as an instruction takes them; for 3xTF32, which splits them when it computes, as they are."""
        import numpy as np

        stored = np.ascontiguousarray(numbers, self.dtype)
        if self.name != "tf32":
            return stored
        bits = (stored.view(np.uint32) + np.uint32(_HALF)) & np.uint32(_KEPT)
        return np.where(np.isfinite(stored), bits.view(np.float32), stored)


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
def intrinsics(precision: Precision, *, packed: bool) -> Intrinsics:
    """Register a precision's tensor intrinsics with TVM.

    Parameters
    ----------
    packed
        Whether the weights are packed, and so rounded.
    """
    name, dtype, depth = precision
    tile, sums = (TILE, depth), (TILE, TILE)
    loads = [
        f"load_{factor}_rounded" if name == "tf32" and not rounded else f"load_{factor}"
        for factor, rounded in (("data", False), ("weights", packed))
    ]
    data, weights = (copy(function(_CODE, load), tile, dtype, SHARED, "local") for load in loads)
    to_shared, to_global = (copy(function(_CODE, "store"), sums, "float32", "local", to) for to in (SHARED, "global"))
    return Intrinsics(
        register(f"tophub.{name}.{loads[0]}", data),
        register(f"tophub.{name}.{loads[1]}", weights),
        register(f"tophub.{name}.add", add(function(_CODE, f"add_{name}"), sums, depth, dtype, "float32")),
        register("tophub.clear", clear(function(_CODE, "clear"), sums, "float32")),
        register("tophub.store_shared", to_shared),
        register("tophub.store_global", to_global),
    )


def asynchronous(copy: Any, does: Function) -> Any:
    """Return a copy into shared memory, vector by vector, that goes on while the threads do.

    TVM does not see that it writes, and puts no barriers around it. Its own asynchronous copies take more instructions
    to find addresses, and to write zeros for padding.

    Parameters
    ----------
    does
        Copies 16 bytes: it takes where to and from, and whether they are zeros.
    """
    import tvm_ffi
    from tvm import tirx

    return tvm_ffi.structural_map(copy, [(tirx.For, functools.partial(_vector_copied, does))])


def _vector_copied(does: Function, loop: Any) -> Any:
    """Return the copy of a whole vector for the loop over its elements, and other loops as they are."""
    import tvm
    import tvm_ffi
    from tvm import s_tir, tirx
    from tvm.script import tirx as T  # noqa: N812  # as TVM script calls it

    if loop.kind != tirx.ForKind.VECTORIZED:
        return loop
    realize = loop.body
    block, store = realize.block, realize.block.body
    inside, value = store.value.args[:2] if isinstance(store.value, tvm.ir.Call) else (True, store.value)
    to, (name, code) = tirx.BufferLoad(store.buffer, store.indices), does
    call = T.cuda.func_call(name, tirx.address_of(to), tirx.address_of(value), inside, source_code=code)
    *at, first = block.writes[0].region
    vector = tirx.BufferRegion(store.buffer, [*at, tvm.ir.Range.from_min_extent(first.min, loop.extent)])
    whole = s_tir.SBlock(
        block.iter_vars,
        block.reads,
        [vector],
        block.name_hint,
        tirx.Evaluate(call),
        annotations=block.annotations,
    )
    start = [(tvm.ir.Var, lambda variable: loop.min if variable.same_as(loop.loop_var) else variable)]
    values = [tvm_ffi.structural_map(value, start) for value in realize.iter_values]
    return s_tir.SBlockRealize(values, realize.predicate, whole)
