"""Brings a function into normal form by rewriting its bindings in order.

Each rule takes a call and returns the new value of its variable; a call without a rule is emitted unchanged.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from math import prod
from typing import Any

import numpy as np
from tvm import relax
from tvm.ir import GenericConst as Constant

from tophub_registry.frontends.normal_form.known import evaluate, may_evaluate
from tophub_registry.frontends.normal_form.values import (
    NOTHING,
    Array,
    Known,
    Pending,
    PendingLayer,
    Permuted,
    Reshaped,
    Shape,
    Terms,
    constant,
    rows,
    terms_along,
    viewed,
)
from tophub_registry.tasks.reading import is_generated, layer_name
from tophub_registry.tasks.substitution import substituted

Value = Known | Pending | list[Any]
"""A list is a tuple of values; None marks unknown ones."""

_UNARY = frozenset(
    f"relax.{name}"
    for name in (
        *("abs", "ceil", "clip", "cos", "erf", "exp", "floor", "log", "negative", "round", "rsqrt", "sigmoid", "sign"),
        *("sin", "sqrt", "square", "tanh", "trunc", "nn.gelu", "nn.gelu_tanh", "nn.leakyrelu", "nn.relu", "nn.relu6"),
        *("nn.selu", "nn.silu", "nn.softplus"),
    )
)
_BINARY = frozenset(
    f"relax.{name}" for name in ("add", "divide", "maximum", "minimum", "multiply", "power", "subtract")
)
_RESHAPING = frozenset(f"relax.{name}" for name in ("expand_dims", "flatten", "reshape", "squeeze"))
_POOLS = {
    "relax.nn.avg_pool2d": relax.op.nn.avg_pool2d,
    "relax.nn.max_pool2d": relax.op.nn.max_pool2d,
}
_REDUCTIONS = {"relax.max": relax.op.max, "relax.mean": relax.op.mean, "relax.sum": relax.op.sum}
_LAYOUTS = {"relax.nn.conv2d": ("NCHW", "OIHW"), "relax.nn.conv2d_transpose": ("NCHW", "IOHW")}
_VOLUME = ("NCDHW", "OIDHW")
_MATRIX = 2
_BATCH_NORM = 5  # data, gamma, beta, mean, variance


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
    """

    def __init__(self, function: relax.Function, builder: Any, parameters: Mapping[Any, Known]) -> None:
        self._function, self._builder = function, builder
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
                value = self._settled(value)
            elif isinstance(value, list):
                value = [self._settled(item) if isinstance(item, Pending) else item for item in value]
        if value is None:
            self._new[var] = self._emit(self._emitted(expression), var.name)
        else:
            self._values[var] = value

    def _value(self, var: Any, expression: Any) -> Value | None:
        """Return the new value of a variable; None if its expression is to be emitted unchanged."""
        if isinstance(expression, relax.TupleGetItem):
            items = self._values.get(expression.tuple_value)
            return items[expression.index] if isinstance(items, list) else None
        if isinstance(expression, relax.Tuple):
            items = self._argument(expression)
            return items if all(isinstance(item, (Known, Pending)) for item in items) else None
        if isinstance(expression, relax.Call):
            return self._of_call(var, expression)
        value = self._argument(expression)
        return value if isinstance(value, (Known, Pending, list)) else None

    def _of_call(self, var: Any, call: relax.Call) -> Value | None:
        if may_evaluate(call) and (known := self._known(call)) is not None:
            return known
        rule = _RULES.get(getattr(call.op, "name", ""))
        is_whole = isinstance(call.ty, relax.TupleType) and var in self._whole
        return None if rule is None or is_whole else rule(self, call, var.name)

    def _known(self, call: relax.Call) -> Known | None:
        arguments = [self._argument(argument) for argument in call.args]
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

    def _argument(self, expression: Any) -> Any:
        """Return the new value of an argument, or the argument itself if it is not a tensor."""
        if isinstance(expression, Constant):
            return Known(expression.value.numpy())
        if isinstance(expression, relax.Tuple):
            return [self._argument(field) for field in expression.fields]
        if isinstance(expression, relax.Var):
            if expression in self._values:
                return self._values[expression]
            return self._pending(expression, expression.name)
        return expression

    def _pending(self, var: Any, name: str) -> Pending | None:
        """Return an emitted variable as a value; None if it is not a tensor of known shape."""
        if not isinstance(var.ty, relax.TensorType) or var.ty.shape is None or var not in self._new:
            return None
        return Pending(self._new[var], tuple(map(int, var.ty.shape)), str(var.ty.dtype), name)

    # Emission.

    def _emit(self, expression: Any, name: str) -> Any:
        return self._builder.emit(expression, name_hint=name)

    def _emitted(self, expression: Any) -> Any:
        """Return an old expression in terms of the new variables."""
        return substituted(expression, self._variable)

    def _variable(self, var: Any) -> Any:
        """Return the new expression of an old variable."""
        if var not in self._new and var in self._values:
            self._new[var] = self._plain(self._values[var])
        return self._new.get(var, var)

    def _plain(self, value: Any) -> Any:
        """Return the expression of a value, emitted in full."""
        if isinstance(value, Known):
            return constant(value.array, str(value.array.dtype))
        if isinstance(value, list):
            return relax.Tuple([self._plain(item) for item in value])
        if not isinstance(value, Pending):
            return value
        settled = self._settled(value)
        if isinstance(settled.view, Permuted):
            return self._emit(relax.op.permute_dims(settled.base, settled.view.axes), value.name)
        if isinstance(settled.view, Reshaped):
            return self._emit(relax.op.reshape(settled.base, settled.view.shape), value.name)
        return settled.base

    def _settled(self, value: Pending) -> Pending:
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
            variable = self._emit(build(base.data, weight, **base.attributes), name)
        else:
            along = terms.axis or 0
            variable = base
            if (factor != 1).any():
                numbers = constant(_along(factor, along, len(value.shape)), value.dtype)
                variable = self._emit(relax.op.multiply(variable, numbers), f"{name}_scaled")
        if (summand != 0).any():
            numbers = constant(_along(summand, along, len(value.shape)), value.dtype)
            variable = self._emit(relax.op.add(variable, numbers), name)
        return value.settled(variable)

    # Rules.

    def unary(self, call: relax.Call, name: str) -> Value | None:
        """Move an elementwise operator before its argument's view."""
        value = self._argument(call.args[0])
        if not isinstance(value, Pending) or str(call.ty.dtype) != value.dtype:
            return None
        settled = self._settled(value)
        moved = relax.Call(call.op, [settled.base, *call.args[1:]], call.attrs, call.ty_args)
        return replace(settled, base=self._emit(moved, name), name=name)

    def binary(self, call: relax.Call, name: str) -> Value | None:
        """Turn arithmetic with known numbers into a factor and a summand; move other arithmetic before equal views."""
        first, second = (self._argument(argument) for argument in call.args)
        if isinstance(first, Known) and isinstance(second, Pending):
            return self._with_known(call, second, first.array, name, known_first=True)
        if isinstance(second, Known) and isinstance(first, Pending):
            return self._with_known(call, first, second.array, name, known_first=False)
        if not (isinstance(first, Pending) and isinstance(second, Pending)):
            return None
        if first.view is None or first.view != second.view or first.shape != second.shape:
            return self._among_rows(call, first, second, name)
        values = [self._settled(first), self._settled(second)]
        moved = relax.Call(call.op, [value.base for value in values], call.attrs, call.ty_args)
        return replace(values[0], base=self._emit(moved, name), name=name)

    def _among_rows(self, call: relax.Call, first: Pending, second: Pending, name: str) -> Value | None:
        """Move arithmetic with a dense layer before the layer's reshape, so that it can be fused into its kernel."""
        if not first.viewed == second.viewed == tuple(map(int, call.ty.shape)) or str(call.ty.dtype) != first.dtype:
            return None
        for layer in (first, second):
            if isinstance(layer.base, PendingLayer) and isinstance(layer.view, Reshaped):
                settled = self._settled(layer)
                arguments = [
                    settled.base if value is layer else self._as(value, layer.shape) for value in (first, second)
                ]
                moved = relax.Call(call.op, arguments, call.attrs, call.ty_args)
                return replace(settled, base=self._emit(moved, name), name=name)
        return None

    def _with_known(
        self, call: relax.Call, value: Pending, array: Array, name: str, *, known_first: bool
    ) -> Value | None:
        if tuple(map(int, call.ty.shape)) != value.viewed or "float" not in value.dtype:
            return None
        found = _terms(call.op.name, array, value.viewed, known_first=known_first)
        whole = None if found is None else value.then(found)
        if whole is None and found is not None:
            settled = self._settled(value)
            whole = settled.then(found)
        if whole is not None:
            return self._named(replace(whole, name=name), name)
        numbers = value.broadcast(array)
        if value.view is None or numbers is None:
            return None
        settled = self._settled(value)
        arguments = [settled.base, constant(numbers, value.dtype)]
        moved = relax.Call(call.op, arguments[::-1] if known_first else arguments, call.attrs, call.ty_args)
        return replace(settled, base=self._emit(moved, name), name=name)

    @staticmethod
    def _named(value: Pending, name: str) -> Pending:
        """Name an unnamed layer after what was folded into it."""
        base = value.base
        if isinstance(base, PendingLayer) and is_generated(base.name) and not is_generated(name):
            return replace(value, base=replace(base, name=name))
        return value

    def batch_norm(self, call: relax.Call, name: str) -> Value | None:
        """Turn an inference batch norm into a factor and a summand."""
        data, *numbers = (self._argument(argument) for argument in call.args[:_BATCH_NORM])
        if not isinstance(data, Pending) or not all(isinstance(each, Known) for each in numbers):
            return None
        if bool(call.attrs.training):
            return None
        gamma, beta, mean, variance = (each.array.astype("float64") for each in numbers)
        ones, zeros = np.ones_like(gamma), np.zeros_like(gamma)
        factor = (gamma if call.attrs.scale else ones) / np.sqrt(variance + float(call.attrs.epsilon))
        terms = Terms(factor, (beta if call.attrs.center else zeros) - mean * factor, int(call.attrs.axis))
        whole = data.then(terms) or self._settled(data).then(terms)
        if whole is None:
            return None
        return [self._named(replace(whole, name=name), name), None, None]

    def permute(self, call: relax.Call, name: str) -> Value | None:
        """Record a new order of the axes."""
        value = self._argument(call.args[0])
        if not isinstance(value, Pending):
            return None
        rank = len(value.viewed)
        axes = tuple(range(rank))[::-1] if call.attrs.axes is None else tuple(map(int, call.attrs.axes))
        result = value.permuted(axes) or self._apart(value).permuted(axes)
        return None if result is None else replace(result, name=name)

    def reshape(self, call: relax.Call, name: str) -> Value | None:
        """Record a new shape."""
        value = self._argument(call.args[0])
        if not isinstance(value, Pending):
            return None
        shape = tuple(map(int, call.ty.shape))
        result = value.reshaped(shape) or self._apart(value).reshaped(shape)
        return None if result is None else replace(result, name=name)

    def _apart(self, value: Pending) -> Pending:
        """Return a fully emitted value, as a base for others."""
        return Pending(self._plain(value), value.viewed, value.dtype, value.name)

    def _as(self, value: Pending, shape: Shape) -> Any:
        """Return the expression of a value in another shape."""
        return self._plain(value.reshaped(shape) or self._apart(value).reshaped(shape))

    def product(self, call: relax.Call, name: str) -> Value | None:
        """Turn a product with a matrix into a dense layer: rows times a weight. Give other factors the same batch."""
        first, second = factors = [self._argument(argument) for argument in call.args]
        matrices = all(isinstance(each, (Known, Pending)) and len(viewed(each)) >= _MATRIX for each in factors)
        if not matrices or {str(each.ty.dtype) for each in call.args} != {str(call.ty.dtype)}:
            return None
        shape = tuple(map(int, call.ty.shape))
        batch, *batches = (each[:-_MATRIX] for each in (shape, viewed(first), viewed(second)))
        alike = {prod(each) for each in batches} == {prod(batch)}
        if alike and (isinstance(second, Pending) or prod(batch) > 1):
            return None
        if prod(batches[1]) == 1:
            return self._times_matrix(call, first, self._flat(second), shape, name)
        if prod(batches[0]) == 1:
            return self._matrix_times(call, self._flat(first), second, shape, name)
        spread = [relax.op.broadcast_to(self._plain(each), (*batch, *viewed(each)[-_MATRIX:])) for each in factors]
        product = relax.op.matmul(*(self._emit(each, name) for each in spread))
        return Pending(self._emit(product, name), shape, str(call.ty.dtype), name)

    def _flat(self, matrix: Known | Pending) -> Known | Pending:
        """Return a batch of one matrix as that matrix."""
        shape = viewed(matrix)[-_MATRIX:]
        if isinstance(matrix, Known):
            return replace(matrix, array=matrix.array.reshape(shape))
        return matrix.reshaped(shape) or self._apart(matrix).reshaped(shape) or matrix

    def _turned(self, factor: Known | Pending) -> Known | Pending:
        """Return a factor with its last two axes exchanged."""
        rank = len(viewed(factor))
        order = (*range(rank - _MATRIX), rank - 1, rank - 2)
        if isinstance(factor, Known):
            return replace(factor, array=factor.array.transpose(order))
        return factor.permuted(order) or self._apart(factor).permuted(order) or factor

    def _times_matrix(
        self, call: relax.Call, data: Known | Pending, weight: Known | Pending, shape: Shape, name: str
    ) -> Value | None:
        """Multiply rows by a matrix."""
        dtype = str(call.ty.dtype)
        if isinstance(weight, Known):
            if isinstance(data, Known):
                return None
            matrix = self._as(data, rows(data.viewed))
            layer = PendingLayer(
                call.op.name, matrix, weight.array, {}, rows(shape), dtype, layer_name(name, weight.name)
            )
            return Pending(layer, layer.shape, dtype, name).reshaped(shape)
        flat = rows(viewed(data))
        matrix = constant(data.array.reshape(flat), dtype) if isinstance(data, Known) else self._as(data, flat)
        variable = self._emit(relax.op.matmul(matrix, self._plain(weight)), name)
        return Pending(variable, rows(shape), dtype, name).reshaped(shape)

    def _matrix_times(
        self, call: relax.Call, weight: Known | Pending, data: Known | Pending, shape: Shape, name: str
    ) -> Value | None:
        """Multiply a matrix by a batch of others: with transposed factors and the roles exchanged, it is a weight."""
        turned = (*shape[:-_MATRIX], shape[-1], shape[-2])
        value = self._times_matrix(call, self._turned(data), self._turned(weight), turned, name)
        return self._turned(value) if isinstance(value, (Known, Pending)) else None

    def convolution(self, call: relax.Call, name: str) -> Value | None:
        """Bring a convolution over two or three axes into NCHW, and fold preceding padding into it."""
        attrs = call.attrs
        layouts = _VOLUME if call.op.name == "relax.nn.conv3d" else _LAYOUTS[call.op.name]
        data, weight = (self._argument(argument) for argument in call.args)
        if not isinstance(data, Pending) or not isinstance(weight, Known) or str(call.ty.dtype) != data.dtype:
            return None
        if {*attrs.data_layout} != {*layouts[0]} or {*attrs.kernel_layout} != {*layouts[1]}:
            return None
        if str(attrs.out_layout or attrs.data_layout) != str(attrs.data_layout):
            return None
        padding = tuple(map(int, attrs.padding))
        if "transpose" not in call.op.name:
            data, padding = self._with_padding(call, data, padding)
        into = tuple(map(attrs.data_layout.index, layouts[0]))
        back = tuple(map(layouts[0].index, attrs.data_layout))
        image = self._plain(data.permuted(into) or self._apart(data).permuted(into))
        kernel = np.ascontiguousarray(weight.array.transpose([*map(attrs.kernel_layout.index, layouts[1])]))
        attributes = {
            "strides": [*map(int, attrs.strides)],
            "padding": [*padding],
            "dilation": [*map(int, attrs.dilation)],
            "groups": int(attrs.groups),
            "data_layout": layouts[0],
            "kernel_layout": layouts[1],
        }
        if "transpose" in call.op.name:
            attributes["output_padding"] = [*map(int, attrs.output_padding)]
        viewed = tuple(map(int, call.ty.shape))
        shape = tuple(viewed[axis] for axis in into)
        layer = PendingLayer(call.op.name, image, kernel, attributes, shape, data.dtype, layer_name(name, weight.name))
        return Pending(layer, shape, data.dtype, name).permuted(back)

    def _with_padding(self, call: relax.Call, data: Pending, padding: Shape) -> tuple[Pending, Shape]:
        """Return a convolution's input before zero padding, and the total padding."""
        before = self._calls.get(call.args[0])
        if before is None or getattr(before.op, "name", "") != "relax.nn.pad" or self._readers[call.args[0]] != 1:
            return data, padding
        widths = [*map(int, before.attrs.pad_width)]
        layout = call.attrs.data_layout
        axes = [axis for axis, letter in enumerate(layout) if letter not in "NC"]
        others = [axis for axis in range(len(layout)) if axis not in axes]
        inside = self._argument(before.args[0])
        if (
            before.attrs.pad_mode != "constant"
            or float(before.attrs.pad_value) != 0
            or any(widths[2 * axis] or widths[2 * axis + 1] for axis in others)
            or min(widths) < 0
            or not isinstance(inside, Pending)
        ):
            return data, padding
        ends = [*(widths[2 * axis] for axis in axes), *(widths[2 * axis + 1] for axis in axes)]
        return inside, tuple(a + b for a, b in zip(padding, ends, strict=True))

    def row_convolution(self, call: relax.Call, name: str) -> Value | None:
        """Turn a convolution over one axis into one over two, with images one pixel high."""
        attrs = call.attrs
        data, weight = (self._argument(argument) for argument in call.args)
        plain = (attrs.data_layout, attrs.kernel_layout) == ("NCW", "OIW")
        if not isinstance(data, Pending) or not isinstance(weight, Known) or not plain:
            return None
        batch, channels, width = data.viewed
        image = self._as(data, (batch, channels, 1, width))
        outs, ins, reach = weight.array.shape
        left, right = map(int, attrs.padding)
        attributes = {
            "strides": [1, int(attrs.strides[0])],
            "padding": [0, left, 0, right],
            "dilation": [1, int(attrs.dilation[0])],
            "groups": int(attrs.groups),
            "data_layout": "NCHW",
            "kernel_layout": "OIHW",
        }
        viewed = tuple(map(int, call.ty.shape))
        shape = (*viewed[:2], 1, viewed[2])
        kernel = weight.array.reshape(outs, ins, 1, reach)
        layer = PendingLayer(
            "relax.nn.conv2d", image, kernel, attributes, shape, data.dtype, layer_name(name, weight.name)
        )
        return Pending(layer, shape, data.dtype, name).reshaped(viewed)

    def pool(self, call: relax.Call, name: str) -> Value | None:
        """Bring a pooling into NCHW."""
        value, attrs = self._argument(call.args[0]), call.attrs
        if not isinstance(value, Pending) or attrs.layout != "NHWC" or str(attrs.out_layout) not in {"", "NHWC"}:
            return None
        image = self._plain(value.permuted((0, 3, 1, 2)) or self._apart(value).permuted((0, 3, 1, 2)))
        more = {"count_include_pad": bool(attrs.count_include_pad)} if "avg" in call.op.name else {}
        pooled = _POOLS[call.op.name](
            image,
            pool_size=[*map(int, attrs.pool_size)],
            strides=[*map(int, attrs.strides)],
            padding=[*map(int, attrs.padding)],
            dilation=[*map(int, attrs.dilation)],
            ceil_mode=bool(attrs.ceil_mode),
            layout="NCHW",
            **more,
        )
        batch, height, width, channels = map(int, call.ty.shape)
        shape = (batch, channels, height, width)
        return Pending(self._emit(pooled, name), shape, value.dtype, name, view=Permuted((0, 2, 3, 1)))

    def reduction(self, call: relax.Call, name: str) -> Value | None:
        """Reduce before the axes are permuted."""
        value = self._argument(call.args[0])
        if not isinstance(value, Pending) or not isinstance(value.view, Permuted) or call.attrs.axis is None:
            return None
        settled = self._settled(value)
        order = value.view.axes
        axes = [int(axis) % len(order) for axis in call.attrs.axis]
        inner = sorted(order[axis] for axis in axes)
        keeps = bool(call.attrs.keepdims)
        reduced = self._emit(_REDUCTIONS[call.op.name](settled.base, inner, keeps), name)
        shape = tuple(map(int, reduced.ty.shape))
        if not keeps:
            left = [axis for axis in range(len(order)) if axis not in inner]
            order = tuple(left.index(axis) for place, axis in enumerate(order) if place not in axes)
        return Pending(reduced, shape, value.dtype, name).permuted(order)

    def taking(self, call: relax.Call, name: str) -> Value | None:
        """Make known indices non-negative; TVM would read negative ones before the start of the array."""
        value, places = (self._argument(argument) for argument in call.args)
        if not isinstance(value, Pending) or not isinstance(places, Known) or call.attrs.axis is None:
            return None
        size = value.viewed[int(call.attrs.axis)]
        if not ((-size <= places.array) & (places.array < size)).all():
            return None
        known = relax.const(np.where(places.array < 0, places.array + size, places.array), str(places.array.dtype))
        taken = relax.op.take(self._plain(value), known, int(call.attrs.axis), "clip")
        return Pending(self._emit(taken, name), tuple(map(int, call.ty.shape)), value.dtype, name)

    def concatenation(self, call: relax.Call, name: str) -> Value | None:
        """Concatenate values before their axes are permuted, if the permutation is the same for all."""
        values = self._argument(call.args[0])
        if not isinstance(values, list) or call.attrs.axis is None:
            return None
        views = {value.view if isinstance(value, Pending) else None for value in values}
        view = views.pop()
        if views or not isinstance(view, Permuted):
            return None
        axis = view.axes[int(call.attrs.axis) % len(view.axes)]
        joined = self._emit(relax.op.concat([self._settled(value).base for value in values], axis), name)
        return Pending(joined, tuple(map(int, joined.ty.shape)), values[0].dtype, name, view=view)


_RULES: Mapping[str, Callable[[Rewriter, relax.Call, str], Value | None]] = {
    **dict.fromkeys(_UNARY, Rewriter.unary),
    **dict.fromkeys(_BINARY, Rewriter.binary),
    **dict.fromkeys(_RESHAPING, Rewriter.reshape),
    **dict.fromkeys(_POOLS, Rewriter.pool),
    **dict.fromkeys(_REDUCTIONS, Rewriter.reduction),
    **dict.fromkeys((*_LAYOUTS, "relax.nn.conv3d"), Rewriter.convolution),
    "relax.concat": Rewriter.concatenation,
    "relax.matmul": Rewriter.product,
    "relax.nn.batch_norm": Rewriter.batch_norm,
    "relax.nn.conv1d": Rewriter.row_convolution,
    "relax.permute_dims": Rewriter.permute,
    "relax.take": Rewriter.taking,
}

_BUILDERS: Mapping[str, Callable[..., Any]] = {
    "relax.matmul": relax.op.matmul,
    "relax.nn.conv2d": relax.op.nn.conv2d,
    "relax.nn.conv2d_transpose": relax.op.nn.conv2d_transpose,
    "relax.nn.conv3d": relax.op.nn.conv3d,
}


def _terms(operator: str, array: Array, shape: Shape, *, known_first: bool) -> Terms | None:
    """Return arithmetic with known numbers as a factor and a summand; None if that is not possible."""
    found = terms_along(array.astype("float64"), shape)
    if found is None:
        return None
    numbers, axis = found
    ones, zeros = np.ones(()), np.zeros(())
    if operator == "relax.add":
        return Terms(ones, numbers, axis)
    if operator == "relax.subtract":
        return Terms(-ones, numbers, axis) if known_first else Terms(ones, -numbers, axis)
    if operator == "relax.multiply":
        return Terms(numbers, zeros, axis)
    if operator == "relax.divide" and not known_first and (numbers != 0).all():
        return Terms(1 / numbers, zeros, axis)
    return None


def _along(numbers: Array, axis: int, rank: int) -> Array:
    """Reshape numbers to broadcast along an axis."""
    before = axis if rank > _MATRIX else 0  # a dense layer's bias has one axis
    return numbers if numbers.ndim == 0 else numbers.reshape(*(1,) * before, -1, *(1,) * (rank - axis - 1))


def _read(expression: Any) -> Sequence[Any]:
    """Return the variables that an expression reads, with repetitions."""
    found: list[Any] = []

    def note(visited: Any) -> None:
        if isinstance(visited, relax.Var):
            found.append(visited)

    relax.analysis.post_order_visit(expression, note)
    return found
