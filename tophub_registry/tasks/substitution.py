"""Relax expressions in terms of other variables, and functions built anew of them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

from tvm import relax


def substituted(expression: Any, new: Callable[[Any], Any]) -> Any:
    """Return an expression with each variable replaced by the expression that `new` returns for it."""
    return _Substitution(new).visit_expr(expression)


class Rebuilding(ABC):
    """Builds a function anew, binding by binding.

    Attributes
    ----------
    new
        The new variables, by the function's own.
    """

    def __init__(self, function: relax.Function) -> None:
        self._old = function
        self._builder = relax.BlockBuilder()
        self.new: dict[Any, Any] = {}

    @abstractmethod
    def rewrite(self, var: Any, value: Any) -> None:
        """Emit what replaces a binding, and note it in `new`."""

    def result(self) -> relax.Function:
        """Return the new function."""
        main = self._old
        params = [relax.Var(param.name, param.ty) for param in main.params]
        self.new.update(zip(main.params, params, strict=True))
        attributes = {key: main.attrs[key] for key in (main.attrs.keys() if main.attrs else ())}
        with self._builder.function("main", params, attrs=attributes):
            with self._builder.dataflow():
                for block in main.body.blocks:
                    for binding in block.bindings:
                        self.rewrite(binding.var, binding.value)
                result = self._builder.emit_output(self.renewed(main.body.body))
            self._builder.emit_func_output(result)
        return self._builder.get()["main"]

    def emit(self, value: Any, name: str = "") -> Any:
        """Return a new variable that is bound to a value; a variable itself."""
        return value if isinstance(value, relax.Var) else self._builder.emit(value, name_hint=name)

    def normalized(self, value: Any) -> Any:
        """Return a value with its type."""
        return self._builder.normalize(value)

    def renewed(self, expression: Any) -> Any:
        """Return an expression of the function in terms of the new variables."""
        return substituted(expression, lambda var: self.new.get(var, var))


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
