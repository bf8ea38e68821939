"""Brings models of all front ends into one normal form, in which layers can be recognised and have the same tasks.

Batch norms are folded into the preceding weights, images are NCHW, padding is part of the convolution, and a product
with a matrix is a two-dimensional `matmul`. Values that depend only on weights are computed.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

__all__ = ["in_normal_form", "is_plain"]


def in_normal_form(module: Any, weights: Mapping[str, np.ndarray[Any, Any]] | None = None) -> Any:
    """Return a `tvm.IRModule` whose plain Relax functions are in normal form.

    Parameters
    ----------
    weights
        Values for parameters of `main`, by name; these become constants.
    """
    import tvm
    from tvm import relax

    from tophub_registry.frontends.normal_form.values import Known

    module = relax.transform.DeadCodeElimination()(relax.transform.Normalize()(module))
    for variable, function in module.functions_items():
        if not isinstance(function, relax.Function) or not is_plain(function):
            continue
        known = {}
        if weights and variable.name_hint == "main":
            known = {
                param: Known(weights[param.name], param.name) for param in function.params if param.name in weights
            }
        module.update_func(variable, _rewritten(function, known))
    passes = [
        relax.transform.DecomposeOpsForInference(),
        relax.transform.FoldConstant(),
        relax.transform.DeadCodeElimination(),
    ]
    return tvm.transform.Sequential(passes)(module)


def is_plain(function: Any) -> bool:
    """Return whether a Relax function is a sequence of operations on tensors of known shapes.

    Functions with branches, side effects or sizes that are only known at run time are not.
    """
    from tvm import relax

    bindings = [binding for block in function.body.blocks for binding in block.bindings]
    return (
        all(isinstance(block, relax.DataflowBlock) for block in function.body.blocks)
        and all(isinstance(binding, relax.VarBinding) for binding in bindings)
        and all(_is_static(variable.ty) for variable in (*function.params, *(binding.var for binding in bindings)))
    )


def _is_static(kind: Any) -> bool:
    from tvm import relax, tirx

    if isinstance(kind, relax.TupleType):
        return all(map(_is_static, kind.fields))
    if not isinstance(kind, relax.TensorType):
        return True
    return kind.shape is not None and all(isinstance(size, tirx.IntImm) for size in kind.shape)


def _rewritten(function: Any, known: Mapping[Any, Any]) -> Any:
    """Return a function in normal form, without the parameters that are known."""
    from tvm import relax

    from tophub_registry.frontends.normal_form.rewriter import Rewriter
    from tophub_registry.frontends.normal_form.rules import RULES

    builder = relax.BlockBuilder()
    params = {param: relax.Var(param.name, param.ty) for param in function.params if param not in known}
    attributes = {name: function.attrs[name] for name in (function.attrs.keys() if function.attrs else ())}
    attributes.pop("params", None)
    with builder.function("main", [*params.values()], attrs=attributes):
        with builder.dataflow():
            result = builder.emit_output(Rewriter(function, builder, known, RULES).write(params))
        builder.emit_func_output(result)
    return builder.get()["main"]
