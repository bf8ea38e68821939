"""A graph as a Relax function: each operator by the translator that its family's module has for it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tvm import relax

from tophub_registry.errors import UsageError
from tophub_registry.frontends.mxnet import convolution, detection, elementwise, normalization, pooling, shape
from tophub_registry.frontends.mxnet.graph import Entry, Graph, Node
from tophub_registry.frontends.mxnet.site import Expression, Site, constant
from tophub_registry.frontends.mxnet.translator import Translator
from tophub_registry.tasks.layers import Shape

_NAMED = 5  # how many layers of one operator an error names

TRANSLATORS: Mapping[str, Translator] = {
    operator: translator
    for family in (convolution, detection, elementwise, normalization, pooling, shape)
    for operator, translator in family.TRANSLATORS.items()
}
"""What translates an operator, by MXNet's name of it."""


def translate(graph: Graph, inputs: Mapping[str, Shape], *, file: str | None) -> Any:
    """Return a module with the function `main`, whose parameters are the inputs in their order.

    Raises
    ------
    UsageError
        Operators, or forms of them, can't be translated.
    """
    _check_operators(graph.nodes, file=file)
    builder = relax.BlockBuilder()
    parameters = {name: relax.Var(name, relax.TensorType(size, "float32")) for name, size in inputs.items()}
    found: dict[Entry, Any] = dict(graph.values)
    found.update((graph.inputs[name], variable) for name, variable in parameters.items() if name in graph.inputs)
    with builder.function("main", list(parameters.values())):
        with builder.dataflow():
            for node in graph.nodes:
                _translate_node(node, found, builder)
            results = [_result(found[entry], builder) for entry in graph.outputs]
        builder.emit_func_output(results[0] if len(results) == 1 else results)
    return builder.get()


def _check_operators(nodes: Sequence[Node], *, file: str | None) -> None:
    """Raise an error that names every operator without a translator, and its layers."""
    missing: dict[str, list[str]] = {}
    for node in nodes:
        if node.operator not in TRANSLATORS:
            missing.setdefault(node.operator, []).append(node.name)
    if missing:
        spelled = "; ".join(f"{operator} (layers: {_listed(names)})" for operator, names in sorted(missing.items()))
        plural = "s" if len(missing) > 1 else ""
        raise UsageError(f"the operator{plural} {spelled} can't be translated to Relax", file=file)


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return ", ".join(names[:_NAMED]) + more


def _translate_node(node: Node, found: dict[Entry, Any], builder: Any) -> None:
    """Add a node to the function, and its outputs to what was found."""
    site = Site(node, tuple(found[entry] for entry in node.inputs), builder)
    result = TRANSLATORS[node.operator](site)
    outputs: Sequence[Expression] = result if isinstance(result, (list, tuple)) else [result]
    for index, expected in node.shapes.items():
        if index >= len(outputs):
            site.refuse(f"whose output {index} is used")
        variable = site.emit(outputs[index])
        _check_type(site, variable, expected)
        found[Entry(node.key, index)] = variable


def _check_type(site: Site, variable: Expression, expected: Shape) -> None:
    """Compare what Relax infers with what MXNet does."""
    inferred = tuple(map(int, variable.ty.shape))
    if (inferred, variable.ty.dtype) != (expected, "float32"):
        site.refuse(f"that gives {expected} in float32 and not {inferred} in {variable.ty.dtype}")


def _result(value: Any, builder: Any) -> Expression:
    return builder.emit_output(value if isinstance(value, relax.Expr) else constant(value))
