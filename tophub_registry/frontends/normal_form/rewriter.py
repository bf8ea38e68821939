"""Brings a function into normal form by rewriting its bindings in order.

Each rule takes the rewriter, a call and the name of its variable, and returns the variable's new value. A call without
a rule, or whose rule returns None, is emitted unchanged.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from tvm import relax
from tvm.ir import GenericConst as Constant

from tophub_registry.frontends.normal_form.known import evaluate, may_evaluate
from tophub_registry.frontends.normal_form.values import (
    MATRIX_RANK,
    NOTHING,
    Array,
    Known,
    Pending,
    PendingLayer,
    Permuted,
    Reshaped,
    Shape,
    Value,
    constant,
)
from tophub_registry.tasks.substitution import substituted

_BUILDERS: Mapping[str, Callable[..., Any]] = {
    "relax.matmul": relax.op.matmul,
    "relax.nn.conv2d": relax.op.nn.conv2d,
    "relax.nn.conv2d_transpose": relax.op.nn.conv2d_transpose,
    "relax.nn.conv3d": relax.op.nn.conv3d,
}


class Rewriter:
    """Rewrites a function.

    Parameters
    ----------
    function
        A function of dataflow blocks with known shapes.
    builder
        The `relax.BlockBuilder` to write with.
    parameters
        Values of the parameters that become constants, by variable.
    rules
        By the operators' names.
    """

    def __init__(
        self, function: relax.Function, builder: Any, parameters: Mapping[Any, Known], rules: Mapping[str, Rule]
    ) -> None:
        self._function, self._builder, self._rules = function, builder, rules
        self._calls = {
            binding.var: binding.value
            for block in function.body.blocks
            for binding in block.bindings
            if isinstance(binding.value, relax.Call)
        }
        self._readers: Counter[Any] = Counter()
        self._whole: set[Any] = set()  # tuples that are read beyond the first value
        for block in function.body.blocks:
            for binding in block.bindings:
                self._readers.update(_read(binding.value))
                if not (isinstance(binding.value, relax.TupleGetItem) and binding.value.index == 0):
                    self._whole.update(_read(binding.value))
        self._readers.update(_read(function.body.body))
        self._whole.update(_read(function.body.body))
        self._values: dict[Any, Value] = dict(parameters)
        self._new: dict[Any, Any] = {}

    def write(self, params: Mapping[Any, Any]) -> Any:
        """Write the body, and return its result.

        Parameters
        ----------
        params
            The new parameter for each old one.
        """
        self._new.update(params)
        for block in self._function.body.blocks:
            for binding in block.bindings:
                self._bind(binding.var, binding.value)
        return self._emitted(self._function.body.body)

    def _bind(self, var: Any, expression: Any) -> None:
        value = self._value(var, expression)
        if self._readers[var] > 1:
            if isinstance(value, Pending):
                value = self.settled(value)
            elif isinstance(value, list):
                value = [self.settled(item) if isinstance(item, Pending) else item for item in value]
        if value is None:
            self._new[var] = self.emit(self._emitted(expression), var.name)
        else:
            self._values[var] = value

    def _value(self, var: Any, expression: Any) -> Value | None:
        """Return the new value of a variable; None if its expression is to be emitted unchanged."""
        if isinstance(expression, relax.TupleGetItem):
            items = self._values.get(expression.tuple_value)
            return items[expression.index] if isinstance(items, list) else None
        if isinstance(expression, relax.Tuple):
            items = self.argument(expression)
            return items if all(isinstance(item, (Known, Pending)) for item in items) else None
        if isinstance(expression, relax.Call):
            return self._of_call(var, expression)
        value = self.argument(expression)
        return value if isinstance(value, (Known, Pending, list)) else None

    def _of_call(self, var: Any, call: relax.Call) -> Value | None:
        if may_evaluate(call) and (known := self._known(call)) is not None:
            return known
        rule = self._rules.get(getattr(call.op, "name", ""))
        is_whole = isinstance(call.ty, relax.TupleType) and var in self._whole
        return None if rule is None or is_whole else rule(self, call, var.name)

    def _known(self, call: relax.Call) -> Known | None:
        arguments = [self.argument(argument) for argument in call.args]
        if arguments and isinstance(arguments[0], list):
            arguments = arguments[0]
        tensors = [argument for argument in arguments if not isinstance(argument, relax.ShapeExpr)]
        if not tensors or not all(isinstance(tensor, Known) for tensor in tensors):
            return None
        try:
            array = evaluate(call, [tensor.array for tensor in tensors])
        except ValueError:
            return None
        return None if array is None else Known(array, tensors[0].name)

    def argument(self, expression: Any) -> Any:
        """Return the new value of an argument, or the argument itself if it is not a tensor."""
        if isinstance(expression, Constant):
            return Known(expression.value.numpy())
        if isinstance(expression, relax.Tuple):
            return [self.argument(field) for field in expression.fields]
        if isinstance(expression, relax.Var):
            if expression in self._values:
                return self._values[expression]
            return self._pending(expression, expression.name)
        return expression

    def only_read_here(self, expression: Any) -> relax.Call | None:
        """Return the call that an argument is the result of; None if it is none, or others read the result too."""
        return self._calls.get(expression) if self._readers[expression] == 1 else None

    def _pending(self, var: Any, name: str) -> Pending | None:
        """Return an emitted variable as a value; None if it is not a tensor of known shape."""
        if not isinstance(var.ty, relax.TensorType) or var.ty.shape is None or var not in self._new:
            return None
        return Pending(self._new[var], tuple(map(int, var.ty.shape)), str(var.ty.dtype), name)

    # Emission.

    def emit(self, expression: Any, name: str) -> Any:
        """Emit a new expression, and return its variable."""
        return self._builder.emit(expression, name_hint=name)

    def _emitted(self, expression: Any) -> Any:
        """Return an old expression in terms of the new variables."""
        return substituted(expression, self._variable)

    def _variable(self, var: Any) -> Any:
        """Return the new expression of an old variable."""
        if var not in self._new and var in self._values:
            self._new[var] = self.plain(self._values[var])
        return self._new.get(var, var)

    def plain(self, value: Any) -> Any:
        """Return the expression of a value, emitted in full."""
        if isinstance(value, Known):
            return constant(value.array, str(value.array.dtype))
        if isinstance(value, list):
            return relax.Tuple([self.plain(item) for item in value])
        if not isinstance(value, Pending):
            return value
        settled = self.settled(value)
        if isinstance(settled.view, Permuted):
            return self.emit(relax.op.permute_dims(settled.base, settled.view.axes), value.name)
        if isinstance(settled.view, Reshaped):
            return self.emit(relax.op.reshape(settled.base, settled.view.shape), value.name)
        return settled.base

    def settled(self, value: Pending) -> Pending:
        """Return the value with its base emitted."""
        base, terms = value.base, value.terms
        if not isinstance(base, PendingLayer) and terms is NOTHING:
            return value
        factor, summand = terms.factor, terms.summand
        name = value.name
        if isinstance(base, PendingLayer):
            name = base.name
            along = base.channels
            weight = constant(base.scaled(factor) if (factor != 1).any() else base.weight, base.dtype)
            build = _BUILDERS[base.kind]
            variable = self.emit(build(base.data, weight, **base.attributes), name)
        else:
            along = terms.axis or 0
            variable = base
            if (factor != 1).any():
                numbers = constant(_along(factor, along, len(value.shape)), value.dtype)
                variable = self.emit(relax.op.multiply(variable, numbers), f"{name}_scaled")
        if (summand != 0).any():
            numbers = constant(_along(summand, along, len(value.shape)), value.dtype)
            variable = self.emit(relax.op.add(variable, numbers), name)
        return value.settled(variable)

    def apart(self, value: Pending) -> Pending:
        """Return a fully emitted value, as a base for others."""
        return Pending(self.plain(value), value.viewed, value.dtype, value.name)

    def in_shape(self, value: Pending, shape: Shape) -> Any:
        """Return the expression of a value in another shape."""
        return self.plain(value.reshaped(shape) or self.apart(value).reshaped(shape))


Rule = Callable[[Rewriter, relax.Call, str], Value | None]
"""Returns the new value of a call's variable, given its name; None to emit the call unchanged."""


def _along(numbers: Array, axis: int, rank: int) -> Array:
    """Reshape numbers to broadcast along an axis."""
    before = axis if rank > MATRIX_RANK else 0  # a dense layer's bias has one axis
    return numbers if numbers.ndim == 0 else numbers.reshape(*(1,) * before, -1, *(1,) * (rank - axis - 1))


def _read(expression: Any) -> Sequence[Any]:
    """Return the variables that an expression reads, with repetitions."""
    found: list[Any] = []

    def note(visited: Any) -> None:
        if isinstance(visited, relax.Var):
            found.append(visited)

    relax.analysis.post_order_visit(expression, note)
    return found
