"""A Relax module in a folder: its function with weights as parameters, and a file with the weights."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import tvm
from tvm import relax

FUNCTION, WEIGHTS = "relax.json", "relax.npz"
_INPUTS = "num_input"

_SMALL = 64
"""Constants of up to this many elements stay in the function: some passes read their values."""


def write_module(folder: Path, module: tvm.IRModule) -> None:
    """Write a module whose `main` holds its weights as constants."""
    apart = _Apart()
    main = module["main"]
    body = apart.visit_expr(main.body)
    function = relax.Function([*main.params, *apart.parameters], body, None, is_pure=True, attrs=main.attrs)
    function = function.with_attr(_INPUTS, len(main.params))
    whole = tvm.IRModule(module.functions, module.attrs)  # which may have functions that `main` calls
    whole["main"] = function
    (folder / FUNCTION).write_text(tvm.ir.save_json(whole), encoding="utf-8")
    np.savez(folder / WEIGHTS, *apart.weights)


def read_module(folder: Path) -> tvm.IRModule:
    """Read what `write_module` wrote."""
    module = tvm.ir.load_json((folder / FUNCTION).read_text(encoding="utf-8"))
    main = module["main"]
    parameters = main.params[int(main.attrs[_INPUTS]) :]
    with np.load(folder / WEIGHTS) as archive:
        bound = {parameter.name: archive[f"arr_{index}"] for index, parameter in enumerate(parameters)}
    module["main"] = main.without_attr(_INPUTS)
    return relax.transform.BindParams("main", bound)(module)


@relax.expr_functor.mutator
class _Apart(relax.PyExprMutator):  # type: ignore[misc]  # TVM has no types
    """Replaces large constants by parameters."""

    def __init__(self) -> None:
        super().__init__()
        self.parameters: list[Any] = []
        self.weights: list[Any] = []

    def visit_generic_const_(self, op: Any) -> Any:
        if math.prod(map(int, op.ty.shape)) <= _SMALL:
            return op
        self.parameters.append(relax.Var(f"weight{len(self.parameters)}", op.ty))
        self.weights.append(op.value.numpy())
        return self.parameters[-1]
