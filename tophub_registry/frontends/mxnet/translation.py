"""Translates a graph to a Relax function, each operator by the translator of its family's module."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from tvm import relax

from tophub_registry.frontends.model import Model
from tophub_registry.frontends.mxnet import (
    convolution,
    correlation,
    deformable,
    detection,
    elementwise,
    indexing,
    multibox,
    normalization,
    pooling,
    position_sensitive,
    preprocessing,
    products,
    proposals,
    recurrent,
    regions,
    sampling,
    sequences,
    shape,
    upsampling,
    windows,
)
from tophub_registry.frontends.mxnet.checkpoint import Checkpoint
from tophub_registry.frontends.mxnet.class_boxes import gather_class_boxes
from tophub_registry.frontends.mxnet.constants import fold_constants
from tophub_registry.frontends.mxnet.graph import Entry, Graph, read_graph
from tophub_registry.frontends.mxnet.labels import without_labels
from tophub_registry.frontends.mxnet.original import MXNetModel
from tophub_registry.frontends.mxnet.site import Expression, Site, Untranslatable, constant
from tophub_registry.frontends.mxnet.translator import Translator
from tophub_registry.frontends.mxnet.types import FLOAT32
from tophub_registry.frontends.mxnet.weights import weights_of
from tophub_registry.frontends.normal_form import in_normal_form
from tophub_registry.tasks.layers import Shape
from tophub_registry.tasks.reading import UNTRANSLATED

_FAMILIES: tuple[Any, ...] = (
    *(convolution, correlation, deformable, detection, elementwise, indexing, multibox, normalization),
    *(
        pooling,
        position_sensitive,
        preprocessing,
        products,
        proposals,
        recurrent,
        regions,
        sampling,
        sequences,
        shape,
        upsampling,
        windows,
    ),
)

TRANSLATORS: Mapping[str, Translator] = {
    operator: translator for family in _FAMILIES for operator, translator in family.TRANSLATORS.items()
}
"""The translators, by MXNet's operator name."""

OF_ANY_TYPE = elementwise.OF_ANY_TYPE | indexing.OF_ANY_TYPE | normalization.OF_ANY_TYPE | shape.OF_ANY_TYPE
"""The operators that are translated for integers too."""


def translate_source(source: Checkpoint) -> Model:
    """Translate a model after reading; see `frontends.mxnet.read`."""
    symbol = without_labels(source.symbol, source.inputs)
    graph = read_graph(symbol, source.inputs, file=source.file)
    values = weights_of(source, graph.variables)
    folded = gather_class_boxes(fold_constants(replace(graph, values=values)))
    weights = {variable.name: values[variable.entry] for variable in graph.variables}
    return Model(
        name=source.name,
        module=in_normal_form(translate(folded, source.inputs)),
        inputs={name: (shape, "float32") for name, shape in source.inputs.items()},
        outputs=list(symbol.list_outputs()),
        original=MXNetModel(symbol, source.inputs, weights),
        random_weights=source.weights is None,
    )


def translate(graph: Graph, inputs: Mapping[str, Shape]) -> Any:
    """Return a module with the function `main`, whose parameters are the inputs in order.

    An operator that can't be translated, or not in this form, becomes a call of an external function with the type
    that MXNet infers.
    """
    builder = relax.BlockBuilder()
    parameters = {name: relax.Var(name, relax.TensorType(size, "float32")) for name, size in inputs.items()}
    found: dict[Entry, Any] = dict(graph.values)
    found.update((graph.inputs[name], variable) for name, variable in parameters.items() if name in graph.inputs)
    with builder.function("main", list(parameters.values())):
        with builder.dataflow():
            for node in graph.nodes:
                site = Site(node, tuple(found[entry] for entry in node.inputs), builder)
                for index, variable in _translated(site).items():
                    found[Entry(node.key, index)] = variable
            results = [_result(found[entry], builder) for entry in graph.outputs]
        builder.emit_func_output(results[0] if len(results) == 1 else results)
    return builder.get()


def _translated(site: Site) -> dict[int, Expression]:
    """Return the variables of a node's used outputs."""
    operator = site.node.operator
    if operator not in TRANSLATORS:
        return _opaque(site, operator)
    try:
        if operator not in OF_ANY_TYPE:
            _check_types(site)
        result = TRANSLATORS[operator](site)
        outputs: Sequence[Expression] = result if isinstance(result, (list, tuple)) else [result]
        found = {}
        for index, expected in site.node.shapes.items():
            if index >= len(outputs):
                site.refuse(f"whose output {index} is used")
            found[index] = site.emit(outputs[index])
            _check_type(site, found[index], expected, site.node.types[index])
    except Untranslatable as error:
        return _opaque(site, f"{operator} {error.form}")
    except (RuntimeError, TypeError, ValueError):  # a form that Relax does not know, and nobody foresaw
        return _opaque(site, f"{operator} in a form that Relax refuses")
    return found


def _opaque(site: Site, operator: str) -> dict[int, Expression]:
    """Return a placeholder for an operator that can't be translated."""
    found = {}
    for index, expected in site.node.shapes.items():
        kind = relax.TensorType(expected, site.node.types[index])
        found[index] = site.emit(relax.call_pure_packed(UNTRANSLATED + operator, *site.tensors(), ty_args=kind))
    return found


def _check_types(site: Site) -> None:
    """Refuse integers, with which most operators compute in another way."""
    for dtype in (*map(site.type_of, range(len(site))), *site.node.types.values()):
        if dtype != FLOAT32:
            site.refuse(f"of {dtype}")


def _check_type(site: Site, variable: Expression, expected: Shape, dtype: str) -> None:
    """Compare the types that Relax and MXNet infer."""
    inferred = tuple(map(int, variable.ty.shape))
    if (inferred, variable.ty.dtype) != (expected, dtype):
        site.refuse(f"that returns {expected} in {dtype} and not {inferred} in {variable.ty.dtype}")


def _result(value: Any, builder: Any) -> Expression:
    return builder.emit_output(value if isinstance(value, relax.Expr) else constant(value, str(value.dtype)))
