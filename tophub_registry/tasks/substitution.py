"""Relax expressions in terms of other variables."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tvm import relax


def substituted(expression: Any, new: Callable[[Any], Any]) -> Any:
    """Return an expression with each variable replaced by the expression that `new` returns for it."""
    return _Substitution(new).visit_expr(expression)


@relax.expr_functor.mutator
class _Substitution(relax.PyExprMutator):  # type: ignore[misc]  # TVM has no types
    """Replaces variables."""

    def __init__(self, new: Callable[[Any], Any]) -> None:
        super().__init__()
        self._of = new

    def visit_var_(self, op: relax.Var) -> Any:
        return self._of(op)

    def visit_dataflow_var_(self, op: relax.DataflowVar) -> Any:
        return self._of(op)
