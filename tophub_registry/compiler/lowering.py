"""Replaces the convolutions and dense layers of Relax functions by the kernels chosen from records.

Elementwise operators, poolings and concatenations between them adopt their neighbours' layout; operators that don't
support blocks of channels get the plain layout. Constant weights are packed here, once.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import tvm
from tvm import relax, s_tir, te
from tvm.ir import GenericConst as Constant

from tophub_registry.compiler.choice import PLAIN, Kernel, Refused, kernels_for
from tophub_registry.compiler.failures import Failure, KernelFailures, LeftOut, refused
from tophub_registry.compiler.groups import fastest_groups
from tophub_registry.compiler.layouts import (
    average_of_rounded,
    images,
    in_blocks,
    is_agnostic,
    is_average,
    is_elementwise,
    is_exact,
    to_blocks,
    to_plain,
    values_of,
)
from tophub_registry.compiler.rearranged import Rearranged
from tophub_registry.compiler.resized import is_resizing, resized
from tophub_registry.compiler.transposed import spread, turned_over
from tophub_registry.frontends.normal_form import is_plain
from tophub_registry.records.lookup import Answer
from tophub_registry.records.record import workload_key
from tophub_registry.records.target import Target
from tophub_registry.tasks.computed import as_computed
from tophub_registry.tasks.layers import Layer, MatrixProducts, Other, TransposedConvolution
from tophub_registry.tasks.reading import Weights, layers_of, shape_of
from tophub_registry.tasks.rules import FLOAT32, MORE_EXACT, RULES, workloads
from tophub_registry.tasks.substitution import substituted
from tophub_registry.templates.convolution_workloads import Conv2d
from tophub_registry.templates.neighbours import Neighbourhood
from tophub_registry.templates.registry import TEMPLATES, template_class

KERNEL = "tophub.kernel"
"""The annotation of a kernel's last block: the kernel's number."""

_OUT_ELEMENTWISE_FUSABLE = 4

_NOISE = 1.05
"""How far the measured times of equally fast kernels are apart."""

Find = Callable[[Collection[str]], tuple[Mapping[str, list[Answer]], Neighbourhood]]
"""Returns the records of each workload, by key, best first."""


@dataclass(frozen=True)
class Lowered:
    """The result: a module whose kernels' blocks are annotated with `KERNEL`, and the kernels' meaning.

    Attributes
    ----------
    module
        Relax and the kernels' functions, not yet scheduled.
    layers
        The convolutions and dense layers in model order, and the kernel of each; None if no template covers it.
    kernels
        The kernels, by the number in the annotation.
    left_out
        Records that yield no valid kernel.
    """

    module: tvm.IRModule
    layers: list[tuple[Layer, Kernel | None]]
    kernels: list[Kernel]
    left_out: list[LeftOut]

    def layers_of(self, kernel: Kernel) -> tuple[str, ...]:
        """Return the names of the layers with the same workload and config as a kernel."""
        key = identity(kernel)
        return tuple(layer.name for layer, its in self.layers if its is not None and identity(its) == key)


def identity(kernel: Kernel) -> tuple[str, str]:
    """Return a key that is equal for kernels that are the same function."""
    return repr((kernel.template.task, kernel.template.args)), repr(kernel.config.entity)


def lower(module: tvm.IRModule, target: Target, find: Find, precision: str = FLOAT32) -> Lowered:
    """Replace the layers that templates cover in all functions in normal form.

    Parameters
    ----------
    module
        Its functions take inputs and non-constant weights as parameters; its convolutions are NCHW.
    target
        The target to compile for; its kind determines the templates of a layer.
    find
        Looks records up.
    precision
        How the layers are computed, where templates have that precision: one of `tasks.rules.PRECISIONS`.

    Raises
    ------
    KernelFailures
        A record's kernel can't be computed.
    """
    functions = {
        name: _without_repetition(function)
        for name, function in module.functions_items()
        if isinstance(function, relax.Function) and is_plain(function)
    }
    builder = _Builder(module)
    for name, function in functions.items():
        builder.rewrite(name, _Graph(_as_computed(function, target, find, precision), target, find, precision))
    return builder.lowered()


def _without_repetition(function: relax.Function) -> relax.Function:
    """Return a function that computes equal values once."""
    module = relax.transform.EliminateCommonSubexpr()(tvm.IRModule({"main": function}))
    return relax.analysis.remove_all_unused(module["main"])


def _as_computed(function: relax.Function, target: Target, find: Find, precision: str) -> relax.Function:
    """Return a function with the layers that the target computes instead, unless only those that it has were tuned."""
    new = as_computed(function, target.kind, precision)
    if new is function or precision != FLOAT32:  # records of the model's own layers here would be of float32
        return new
    before, after = (_workloads(each, target) for each in (function, new))
    answers, _ = find(before ^ after)

    def tuned(keys: set[str]) -> bool:
        found = [answer for key in keys for answer in answers[key]]
        return any(not answer.match.is_evidence_only(target) for answer in found)

    return function if tuned(before - after) and not tuned(after - before) else new


def _workloads(function: relax.Function, target: Target) -> set[str]:
    """Return the keys of a function's workloads, of those tasks that have templates."""
    layers = (layer for layer in layers_of(function).values() if not isinstance(layer, Other))
    found = (each for layer in layers for each in workloads(layer, target.kind, own=True))
    return {workload_key(task, args, {}) for task, args in found if task in TEMPLATES}


class _Graph:
    """The operations of a function in order, and how each is computed."""

    def __init__(self, main: relax.Function, target: Target, find: Find, precision: str) -> None:
        self.main = main
        self.bindings = [binding for block in main.body.blocks for binding in block.bindings]
        self._calls = {binding.var: binding.value for binding in self.bindings if isinstance(binding.value, relax.Call)}
        self.layers = {var: layer for var, layer in layers_of(main).items() if not isinstance(layer, Other)}
        self.weights = Weights(main)
        self.readers = Counter(value for binding in self.bindings for value in values_of(binding.value))
        self.readers.update(values_of(main.body.body))
        self.left_out: list[LeftOut] = []
        packed = {
            var
            for var, layer in self.layers.items()
            if not isinstance(layer, MatrixProducts) and not isinstance(self._calls[var].args[1], Constant)
        }
        kernels = _kernels(self.layers, packed, target, find, precision, self.left_out)
        self.resizes = target.kind == "llvm"
        self.groups = fastest_groups(main, kernels, self._is_agnostic)
        self.kernels = self.groups.kernels
        self.types_read = self._types_read()

    def _types_read(self) -> dict[Any, set[str]]:
        """Return the types other than its own in which kernels read a value."""
        read: dict[Any, set[str]] = {}
        for var, kernel in self.kernels.items():
            *given, _ = kernel.template.tensors(kernel.config)
            for value, (_, dtype) in zip(self._calls[var].args, given, strict=True):
                if isinstance(value, relax.Var) and dtype != str(value.ty.dtype):
                    read.setdefault(value, set()).add(dtype)
        for binding in reversed(self.bindings):
            if binding.var in read and self.chooses(binding):
                for value in images(binding.value):
                    read.setdefault(value, set()).update(read[binding.var])
        return read

    def _is_agnostic(self, call: relax.Call) -> bool:
        return is_agnostic(call) or (self.resizes and is_resizing(call))

    def chooses(self, binding: relax.VarBinding) -> bool:
        """Return whether an operator can work on rounded numbers, in blocks of channels or channels last."""
        agnostic = self.groups.is_agnostic(binding.var)
        return agnostic and is_exact(binding.value) and self.groups.block(binding.var) != PLAIN


def _kernels(
    layers: Mapping[Any, Layer],
    packed_late: Collection[Any],
    target: Target,
    find: Find,
    precision: str,
    left_out: list[LeftOut],
) -> dict[Any, list[Kernel]]:
    """Return the candidate kernels of each layer; layers that no template covers are left out.

    A layer is computed in a more exact precision where that was measured to take no longer.

    Parameters
    ----------
    packed_late
        The layers whose weights are not constant: each run converts them to the kernel's layout.
    """
    if target.kind not in RULES or not layers:
        return {}
    spelled = {
        var: workloads(layer, target.kind, own=True, precision=FLOAT32 if var in packed_late else precision)
        for var, layer in layers.items()
    }
    for var in packed_late:
        spelled[var] = [
            (task, args) for task, args in spelled[var] if task in TEMPLATES and template_class(task).packs_late
        ]
    exact = {
        var: workloads(layers[var], target.kind, own=True, precision=MORE_EXACT[precision])
        for var in spelled.keys() - packed_late
        if precision in MORE_EXACT
    }
    asked = (each for every in (spelled, exact) for each in every.values())
    answers, neighbourhood = find({workload_key(task, args, {}) for each in asked for task, args in each})

    kernels = {}
    for var, each in spelled.items():
        refusals: list[Refused] = []
        found = kernels_for(each, target, answers, neighbourhood, refusals)
        if others := [other for other in exact.get(var, ()) if other not in each]:
            found = _or_more_exact(found, kernels_for(others, target, answers, Neighbourhood(), refusals))
        kernels[var] = found
        left_out += [refused(refusal, layers[var].name) for refusal in refusals]
    return {var: each for var, each in kernels.items() if each}


def _or_more_exact(kernels: Sequence[Kernel], exact: Sequence[Kernel]) -> list[Kernel]:
    """Return kernels, or more exact ones of the same layouts where both were measured and these take as long."""
    measured = {kernel.blocks: kernel for kernel in exact if kernel.is_measured}

    def chosen(kernel: Kernel) -> Kernel:
        other = measured.get(kernel.blocks)
        if other is None or not kernel.is_measured or kernel.answer.conditions != other.answer.conditions:
            return kernel
        return other if other.cost <= _NOISE * kernel.cost else kernel

    return [chosen(kernel) for kernel in kernels]


class _Builder:
    """Rewrites a module's functions."""

    def __init__(self, module: tvm.IRModule) -> None:
        self.builder = relax.BlockBuilder(module)
        self.graph: _Graph
        self._functions: dict[tuple[str, str], Any] = {}
        self._lying: dict[tuple[Any, int, str], Any] = {}
        self._lies: dict[Any, int] = {}
        self._kernels: list[Kernel] = []
        self._layers: list[tuple[Layer, Kernel | None]] = []
        self._left_out: list[LeftOut] = []
        self._temporary: list[Any] = []

    def rewrite(self, name: Any, graph: _Graph) -> None:
        """Rewrite one function in place."""
        self.graph = graph
        main = graph.main
        params = [relax.Var(param.name, param.ty) for param in main.params]
        self._lying, self._lies = {}, {}
        attributes = {key: main.attrs[key] for key in (main.attrs.keys() if main.attrs else ())}
        with self.builder.function(f"{name.name_hint}_lowered", params, attrs=attributes):
            with self.builder.dataflow():
                for old, new in zip(main.params, params, strict=True):
                    self._define(old, new, PLAIN)
                for binding in graph.bindings:
                    if binding.var in graph.kernels:
                        self._define(binding.var, *self._kernel(binding.var, binding.value))
                    else:
                        self._define(binding.var, *self._other(binding))
                result = self.builder.emit_output(self._plainly(main.body.body))
            written = self.builder.emit_func_output(result)
        self._temporary.append(written)
        self.builder.update_func(name, self.builder.get()[written].with_attr("global_symbol", name.name_hint))
        self._layers += [(layer, graph.kernels.get(var)) for var, layer in graph.layers.items()]
        self._left_out += graph.left_out

    def lowered(self) -> Lowered:
        """Return the result."""
        module = self.builder.get()
        kept = {name: function for name, function in module.functions_items() if name not in self._temporary}
        return Lowered(tvm.IRModule(kept, module.attrs), self._layers, self._kernels, self._left_out)

    def _define(self, value: Any, new: Any, block: int) -> None:
        """Note the new variable of a value, and its layout.

        What kernels read in another type is kept in that alone, and the other readers convert it back as they read it.
        """
        self._lies[value] = block
        for dtype in self.graph.types_read.get(value, ()):
            narrow = new if dtype == _dtype(new) else self.builder.emit(relax.op.astype(new, dtype))
            self._lying[value, block, dtype] = narrow
            new = self.builder.emit(relax.op.astype(narrow, str(value.ty.dtype)))
        self._lying[value, block, _dtype(value)] = new

    def _kernel(self, var: Any, call: relax.Call) -> tuple[Any, int]:
        kernel, layer = self.graph.kernels[var], self.graph.layers[var]
        try:
            return self._computed(kernel, layer, call)
        except Exception as error:
            raise KernelFailures([Failure(kernel, (layer.name,), error)]) from error

    def _computed(self, kernel: Kernel, layer: Layer, call: relax.Call) -> tuple[Any, int]:
        data, weight = call.args
        data_block, output_block = kernel.blocks
        *given, output = kernel.template.tensors(kernel.config)
        taken = self._in(data, data_block, given[0].dtype)
        turned = isinstance(layer, TransposedConvolution) and isinstance(kernel.template.workload, Conv2d)
        if turned:
            taken = self.builder.emit_te(partial(spread, layer=layer), taken, primfunc_name_hint="spread")  # type: ignore[arg-type]
        if isinstance(layer, MatrixProducts):
            arguments = self._factors(kernel, layer, taken, self._in(weight, PLAIN, given[1].dtype))
        else:
            dense = call.op.name == "relax.matmul"
            arguments = [taken, self._packed(kernel, self._weight(weight, is_dense=dense, turned=turned))]
        result = self.builder.emit(
            relax.call_tir(
                self._function(kernel), relax.Tuple(arguments), out_ty=relax.TensorType(output.shape, output.dtype)
            )
        )
        if isinstance(layer, MatrixProducts) and shape_of(call) != output.shape:
            result = self.builder.emit(relax.op.reshape(result, shape_of(call)))
        return result, output_block

    def _factors(self, kernel: Kernel, layer: MatrixProducts, data: Any, weight: Any) -> list[Any]:
        """Return the factors of matrix products in the kernel's layout."""
        batch, columns, in_units = layer.weight
        transposed = Rearranged(weight).reshape(batch, in_units, columns).transpose(0, 2, 1)
        factors: list[Any] = [Rearranged(data).reshape(*layer.data), transposed]
        packed: list[Any] = kernel.template.pack(kernel.config, factors)
        return [self.builder.emit(each.value) for each in packed]

    def _weight(self, weight: Any, *, is_dense: bool, turned: bool) -> Any:
        """Return a layer's weight for its template: an array, or `Rearranged` if it is not constant."""
        if isinstance(weight, Constant):
            array = weight.value.numpy()
            array = np.ascontiguousarray(array.T) if is_dense else array
            return turned_over(array) if turned else array
        parameter = self.graph.weights.untransposed(weight)
        if parameter is not None:
            return Rearranged(self._in(parameter, PLAIN))
        late = Rearranged(self._in(weight, PLAIN))
        if is_dense:
            return late.transpose(1, 0)
        return Rearranged(relax.op.flip(relax.op.flip(late.transpose(1, 0, 2, 3).value, 2), 3)) if turned else late

    def _packed(self, kernel: Kernel, weight: Any) -> Any:
        """Return a weight in the kernel's layout."""
        blank = np.zeros(kernel.template.workload.inputs[0], kernel.template.workload.dtype)
        packed: Any = kernel.template.pack(kernel.config, [blank, weight])[1]
        return packed.value if isinstance(packed, Rearranged) else relax.const(np.ascontiguousarray(packed))

    def _function(self, kernel: Kernel) -> Any:
        """Return the function of a kernel, shared by all layers with the same workload and config."""
        key = identity(kernel)
        if key not in self._functions:
            # Relax uses 64-bit indices, and functions can only be fused if they do too.
            function = te.create_prim_func(kernel.template.computation(kernel.config), index_dtype_override="int64")
            sch = s_tir.Schedule(function, debug_mask="none")
            last = sch.get_child_blocks(sch.get_sblock("root"))[-1]
            sch.annotate(last, KERNEL, len(self._kernels))
            function = sch.mod["main"].with_attr("op_pattern", _OUT_ELEMENTWISE_FUSABLE)
            name = kernel.template.task.split(".")[0]
            self._functions[key] = self.builder.add_func(function.without_attr("global_symbol"), name)
            self._kernels.append(kernel)
        return self._functions[key]

    def _other(self, binding: relax.VarBinding) -> tuple[Any, int]:
        call = binding.value
        block = self._wanted(binding.var, call) if self.graph.groups.is_agnostic(binding.var) else PLAIN
        if self.graph.resizes and is_resizing(call):
            return resized(self.builder, call, self._in(call.args[0], block)), block
        if block == PLAIN:
            return self.builder.emit(_sliced(self._plainly(call))), PLAIN
        read = self.graph.types_read
        if is_average(call) and (types := read.get(call.args[0])):
            average = partial(average_of_rounded, call=call, block=block)
            rounded = self._in(call.args[0], block, min(types))
            return self.builder.emit_te(average, rounded, primfunc_name_hint="avg_pool2d"), block
        dtype = min(read.get(binding.var, ()), default=None) if self.graph.chooses(binding) else None
        return self.builder.emit(in_blocks(call, block, lambda image: self._in(image, block, dtype))), block

    def _wanted(self, var: Any, call: relax.Call) -> int:
        """Return the block size in which a layout-agnostic operator works.

        Elementwise operators on a kernel's output use its block size, and the layout is changed afterwards: a change in
        between would prevent fusing bias and activation into the kernel.
        """
        taken = set(images(call))
        if is_elementwise(call) and len(taken) == 1:
            (value,) = taken
            if self.graph.readers[value] == 1:
                return self._lies[value]
        return self.graph.groups.block(var)

    def _plainly(self, expression: Any) -> Any:
        """Return an expression with its variables in the plain layout."""
        replaced = {var: self._in(var, PLAIN) for var in values_of(expression)}
        return substituted(expression, lambda var: replaced.get(var, var))

    def _in(self, value: Any, block: int, dtype: str | None = None) -> Any:
        """Return the new variable of a value in the given layout and type, by default its own."""
        if not isinstance(value, relax.Var):
            return value
        key = value, block, dtype or _dtype(value)
        if key not in self._lying:
            self._lying[key] = self._changed(*key)
        return self._lying[key]

    def _changed(self, value: Any, block: int, dtype: str) -> Any:
        """Return a new variable for a value in another layout than the one it lies in."""
        lies = self._lies[value]
        if block != PLAIN != lies:
            return self.builder.emit_te(to_blocks, self._in(value, PLAIN, dtype), block)
        new = self._lying[value, lies, dtype]
        return self.builder.emit_te(to_plain, new) if block == PLAIN else self.builder.emit_te(to_blocks, new, block)


def _dtype(value: Any) -> str:
    """Return the type of a tensor's elements; empty for a tuple."""
    return str(value.ty.dtype) if isinstance(value.ty, relax.TensorType) else ""


def _sliced(call: Any) -> Any:
    """Return what a call takes at one known index as a slice, which can be fused with what reads it; else the call."""
    if getattr(getattr(call, "op", None), "name", "") != "relax.take" or call.attrs.axis is None:
        return call
    data, place = call.args
    if not isinstance(place, Constant) or shape_of(place) != ():
        return call
    axis, first = int(call.attrs.axis), int(place.value.numpy())
    size = shape_of(data)[axis]
    if not -size <= first < size:
        return call
    sliced = relax.op.strided_slice(data, [axis], [first % size], [first % size + 1])
    return relax.op.reshape(sliced, shape_of(call))
