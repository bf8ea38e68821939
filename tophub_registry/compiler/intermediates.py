"""What a function's kernels leave for each other in a GPU's memory becomes an output of the function.

TVM would allocate such memory when the function runs, and may give it back when another function needs more. A CUDA
graph that was captured before would go on using it. Outputs are allocated with the model's other tensors, once.
"""

from __future__ import annotations

from typing import Any

import tvm
from tvm import relax, tirx
from tvm.relax.expr_functor import PyExprMutator, mutator


def as_outputs(module: tvm.IRModule) -> tvm.IRModule:
    """Return a scheduled module, in Relax, in which no function allocates global memory.

    Parameters
    ----------
    module
        Its functions are called by `call_tir`.
    """
    functions = dict(module.functions_items())
    found = {name: buffers for name, function in functions.items() if (buffers := _intermediates(function))}
    changed = {name: _with_outputs(functions.pop(name), buffers) for name, buffers in found.items()}
    calls = _Calls(tvm.IRModule(functions, module.attrs), changed, found)
    for name, function in functions.items():
        if isinstance(function, relax.Function):
            calls.builder_.update_func(name, calls.visit_expr(function))
    return calls.builder_.get()


def _intermediates(function: Any) -> list[Any]:
    if not isinstance(function, tirx.PrimFunc) or not isinstance(function.body, tvm.s_tir.SBlockRealize):
        return []
    return [buffer for buffer in function.body.block.alloc_buffers if buffer.scope() == "global"]


def _with_outputs(function: Any, intermediates: list[Any]) -> Any:
    """Return a function that takes its intermediate buffers after its outputs."""
    root = function.body.block
    rest = [buffer for buffer in root.alloc_buffers if all(not buffer.same_as(its) for its in intermediates)]
    block = tvm.s_tir.SBlock(
        root.iter_vars,
        root.reads,
        root.writes,
        root.name_hint,
        root.body,
        root.init,
        rest,
        root.match_buffers,
        root.annotations,
    )
    body = tvm.s_tir.SBlockRealize(function.body.iter_values, function.body.predicate, block)
    return tirx.PrimFunc([*function.params, *intermediates], body, function.ret_type, function.attrs)


@mutator
class _Calls(PyExprMutator):  # type: ignore[misc]
    """Lets calls take the new outputs, and leaves them unused."""

    def __init__(self, module: tvm.IRModule, functions: dict[Any, Any], intermediates: dict[Any, list[Any]]) -> None:
        super().__init__(module)
        self._names = {name: self.builder_.add_func(its, name.name_hint) for name, its in functions.items()}
        self._types = {
            name: [relax.TensorType([int(side) for side in buffer.shape], buffer.dtype) for buffer in buffers]
            for name, buffers in intermediates.items()
        }

    def visit_call_(self, call: Any) -> Any:
        name = call.args[0] if call.op == tvm.ir.Op.get("relax.call_tir") else None
        if name not in self._types:
            return super().visit_call_(call)
        one = not isinstance(call.ty, relax.TupleType)
        outputs = [call.ty] if one else list(call.ty.fields)
        arguments = self.visit_expr(call.args[1])
        every = relax.call_tir(self._names[name], arguments, [*outputs, *self._types[name]], *call.args[2:])
        found = self.builder_.emit(every)
        return found[0] if one else relax.Tuple([found[i] for i in range(len(outputs))])
