"""A Relax function with its convolutions and dense layers replaced by the kernels that records choose.

What stands between them, element by element, pooled or joined, takes over the layout of its neighbours; what
knows no blocks of channels gets its values in the plain layout. Weights are packed here, once.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import tvm
from tvm import relax, s_tir, te

from tophub_registry.compiler.choice import PLAIN, Kernel, Refused, Use, choose_blocks, kernels_for
from tophub_registry.compiler.failures import Failure, KernelFailures, LeftOut, refused
from tophub_registry.compiler.layouts import (
    bytes_of,
    images,
    in_blocks,
    is_agnostic,
    is_elementwise,
    is_image,
    to_blocks,
    to_plain,
    values_of,
)
from tophub_registry.compiler.transposed import spread, turned_over
from tophub_registry.records.lookup import Answer
from tophub_registry.records.record import workload_key
from tophub_registry.records.target import Target
from tophub_registry.tasks.layers import Layer, TransposedConvolution
from tophub_registry.tasks.reading import layer_of, shape_of
from tophub_registry.tasks.rules import RULES, workloads
from tophub_registry.templates.neighbours import Neighbourhood
from tophub_registry.templates.workloads import Conv2d

KERNEL = "tophub.kernel"
"""The annotation of a kernel's last block: its number among the kernels."""

_OUT_ELEMENTWISE_FUSABLE = 4

Find = Callable[[Collection[str]], tuple[Mapping[str, list[Answer]], Neighbourhood]]
"""Gives for workloads, by their keys, the records of each, the best first."""


@dataclass(frozen=True)
class Lowered:
    """The result: a module whose kernels' blocks are annotated with `KERNEL`, and what they stand for.

    Attributes
    ----------
    module
        Relax and the kernels' functions, not yet scheduled.
    layers
        The convolutions and dense layers in the model's order, and the kernel of each; None where no template
        covers it.
    kernels
        By the number of the annotation.
    left_out
        Records that are no kernels.
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
    """Return what two kernels have in common that are the same function."""
    return repr((kernel.template.task, kernel.template.args)), repr(kernel.config.entity)


def lower(module: tvm.IRModule, target: Target, find: Find) -> Lowered:
    """Replace the layers of `main` that templates cover.

    Parameters
    ----------
    module
        `main` takes the model's inputs; its weights are constants, its convolutions NCHW.
    target
        What is compiled for; its kind decides which templates a layer has.
    find
        Looks records up.

    Raises
    ------
    KernelFailures
        A record's kernel can't be computed.
    """
    graph = _Graph(module["main"], target, find)
    return _Builder(graph).build(module)


class _Graph:
    """What `main` computes, in order, and which of its values lie alike."""

    def __init__(self, main: relax.Function, target: Target, find: Find) -> None:
        self.main = main
        self.bindings = [binding for block in main.body.blocks for binding in block.bindings]
        self._parents: dict[Any, Any] = {}
        self._uses: dict[Any, Use] = {}
        self._calls = {binding.var: binding.value for binding in self.bindings if isinstance(binding.value, relax.Call)}
        found = ((var, layer_of(call, var.name)) for var, call in self._calls.items())
        self.layers = {var: layer for var, layer in found if layer is not None}
        self.readers = Counter(value for binding in self.bindings for value in values_of(binding.value))
        self.readers.update(values_of(main.body.body))
        self.left_out: list[LeftOut] = []
        kernels = _kernels(self.layers, target, find, self.left_out)
        for var, call in self._calls.items():
            if var not in kernels and is_agnostic(call):
                for value in images(call):
                    self._join(value, var)
        self.blocks = self._choose(kernels)
        self.kernels = {var: use.best(self.blocks)[1] for var, use in self._uses.items()}

    def _root(self, value: Any) -> Any:
        while (parent := self._parents.get(value, value)) is not value:
            value = parent
        return value

    def _join(self, a: Any, b: Any) -> None:
        a, b = self._root(a), self._root(b)
        if a is not b:
            self._parents[a] = b

    def block(self, value: Any) -> int:
        """Return the block in which a value should lie."""
        return self.blocks.get(self._root(value), PLAIN)

    def _choose(self, kernels: Mapping[Any, Sequence[Kernel]]) -> dict[Any, int]:
        self._uses = {}
        for var, each in kernels.items():
            (data, _), output = self._calls[var].args, var
            self._uses[var] = Use(self._root(data), self._root(output), bytes_of(data), bytes_of(output), each)
        channels: dict[Any, list[int]] = {}
        for value in filter(is_image, (*self.main.params, *(binding.var for binding in self.bindings))):
            channels.setdefault(self._root(value), []).append(shape_of(value)[1])
        groups = {group: math.gcd(*numbers) for group, numbers in channels.items()}
        for use in self._uses.values():  # a dense layer's values are no images, and lie plain
            for group in (use.data, use.output):
                groups.setdefault(group, 1)
        return choose_blocks(list(self._uses.values()), groups, self._plain(kernels))

    def _plain(self, kernels: Collection[Any]) -> dict[Any, int]:
        """Return for each group the bytes that operators want in the plain layout, or give in it."""
        plain: dict[Any, int] = {}
        wanted = [*self.main.params]
        for binding in self.bindings:
            agnostic = isinstance(binding.value, relax.Call) and is_agnostic(binding.value)
            if binding.var not in kernels and not agnostic:
                wanted += [*values_of(binding.value), binding.var]
        for value in filter(is_image, wanted):
            group = self._root(value)
            plain[group] = plain.get(group, 0) + bytes_of(value)
        return plain


def _kernels(
    layers: Mapping[Any, Layer], target: Target, find: Find, left_out: list[LeftOut]
) -> dict[Any, list[Kernel]]:
    """Return the kernels that could compute each layer; a layer that no template covers is left out."""
    if target.kind not in RULES:
        return {}
    spelled = {var: workloads(layer, target.kind, own=True) for var, layer in layers.items()}
    answers, neighbourhood = find({workload_key(task, args, {}) for each in spelled.values() for task, args in each})
    kernels = {}
    for var, each in spelled.items():
        refusals: list[Refused] = []
        kernels[var] = kernels_for(each, target, answers, neighbourhood, refusals)
        left_out += [refused(refusal, layers[var].name) for refusal in refusals]
    return {var: each for var, each in kernels.items() if each}


class _Builder:
    """Writes `main` anew."""

    def __init__(self, graph: _Graph) -> None:
        self.graph = graph
        self.builder = relax.BlockBuilder()
        self._functions: dict[tuple[str, str], Any] = {}
        self._lying: dict[tuple[Any, int], Any] = {}
        self._new: dict[Any, tuple[Any, int]] = {}
        self._kernels: list[Kernel] = []

    def build(self, module: tvm.IRModule) -> Lowered:
        for var, function in module.functions_items():
            if var.name_hint != "main":
                self.builder.add_func(function, var.name_hint)
        params = [relax.Var(param.name, param.ty) for param in self.graph.main.params]
        with self.builder.function("main", params):
            with self.builder.dataflow():
                for old, new in zip(self.graph.main.params, params, strict=True):
                    self._new[old] = new, PLAIN
                for binding in self.graph.bindings:
                    if binding.var in self.graph.kernels:
                        self._new[binding.var] = self._kernel(binding.var, binding.value)
                    else:
                        self._new[binding.var] = self._other(binding)
                result = self.builder.emit_output(self._plainly(self.graph.main.body.body))
            self.builder.emit_func_output(result)
        layers = [(layer, self.graph.kernels.get(var)) for var, layer in self.graph.layers.items()]
        return Lowered(self.builder.get(), layers, self._kernels, self.graph.left_out)

    def _kernel(self, var: Any, call: relax.Call) -> tuple[Any, int]:
        kernel, layer = self.graph.kernels[var], self.graph.layers[var]
        try:
            return self._computed(kernel, layer, call)
        except Exception as error:
            raise KernelFailures([Failure(kernel, (layer.name,), error)]) from error

    def _computed(self, kernel: Kernel, layer: Layer, call: relax.Call) -> tuple[Any, int]:
        data, weight = call.args
        numbers = weight.value.numpy()
        if call.op.name == "relax.matmul":
            numbers = np.ascontiguousarray(numbers.T)
        data_block, output_block = kernel.blocks
        taken = self._in(data, data_block)
        if isinstance(layer, TransposedConvolution) and isinstance(kernel.template.workload, Conv2d):
            taken = self.builder.emit_te(partial(spread, layer=layer), taken, primfunc_name_hint="spread")
            numbers = turned_over(numbers)
        blank = np.zeros(kernel.template.workload.inputs[0], numbers.dtype)
        _, packed = kernel.template.pack(kernel.config, [blank, numbers])
        output = kernel.template.tensors(kernel.config)[-1]
        arguments = relax.Tuple([taken, relax.const(np.ascontiguousarray(packed))])
        result = relax.call_tir(self._function(kernel), arguments, out_ty=relax.TensorType(output.shape, output.dtype))
        return self.builder.emit(result), output_block

    def _function(self, kernel: Kernel) -> Any:
        """Return the function of a kernel, which all layers with the same workload and config share."""
        key = identity(kernel)
        if key not in self._functions:
            # Relax counts in 64 bits, and functions can only be fused where they agree.
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
        block = self._wanted(binding.var, call) if isinstance(call, relax.Call) and is_agnostic(call) else PLAIN
        if block == PLAIN:
            return self.builder.emit(self._plainly(call)), PLAIN
        return self.builder.emit(in_blocks(call, block, lambda image: self._in(image, block))), block

    def _wanted(self, var: Any, call: relax.Call) -> int:
        """Return the block in which an agnostic operator works.

        What is done to a kernel's output alone, element by element, is done in the kernel's own block, and the layout
        changed afterwards: between the two it would keep bias and activation out of the kernel.
        """
        taken = set(images(call))
        if is_elementwise(call) and len(taken) == 1:
            (value,) = taken
            if self.graph.readers[value] == 1:
                return self._new[value][1]
        return self.graph.block(var)

    def _plainly(self, expression: Any) -> Any:
        """Return an expression with its variables replaced by plain ones."""
        replaced = {var: self._in(var, PLAIN) for var in values_of(expression)}
        return _Substitute(replaced).visit_expr(expression)

    def _in(self, value: Any, block: int) -> Any:
        """Return the new variable of a value, in the layout that is wanted."""
        if not isinstance(value, relax.Var):
            return value
        new, lies = self._new[value]
        if lies == block:
            return new
        if (value, block) not in self._lying:
            if lies != PLAIN:
                new = self._in(value, PLAIN) if block != PLAIN else self.builder.emit_te(to_plain, new)
            if block != PLAIN:
                new = self.builder.emit_te(to_blocks, new, block)
            self._lying[value, block] = new
        return self._lying[value, block]


@relax.expr_functor.mutator
class _Substitute(relax.PyExprMutator):  # type: ignore[misc]  # TVM has no types
    """Puts new variables in the place of old ones."""

    def __init__(self, replaced: Mapping[Any, Any]) -> None:
        super().__init__()
        self._replaced = replaced

    def visit_var_(self, op: relax.Var) -> Any:
        return self._replaced.get(op, op)

    def visit_dataflow_var_(self, op: relax.DataflowVar) -> Any:
        return self._replaced.get(op, op)
