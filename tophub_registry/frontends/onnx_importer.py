"""TVM's importer of ONNX graphs, taught to name layers and to stand for operators that it does not know."""

from __future__ import annotations

import re
from typing import Any

from tvm import relax
from tvm.relax.frontend.onnx.onnx_frontend import ONNXGraphImporter

from tophub_registry.tasks.reading import UNTRANSLATED


class Importer(ONNXGraphImporter):  # type: ignore[misc]  # TVM has no types
    """Imports one model.

    Parameters
    ----------
    proto
        The model; its nodes get names, each its own.
    """

    def __init__(self, proto: Any) -> None:
        super().__init__({}, None)
        self._proto = proto
        self._by_name: dict[str, Any] = {}
        self._types: dict[str, Any] | None = None
        for index, node in enumerate(proto.graph.node):
            plain = _layer_name(node)
            node.name = plain if plain not in self._by_name else f"{plain}_{index}"
            self._by_name[node.name] = node

    def _check_for_unsupported_ops(self, graph: Any) -> None:
        """They become opaque calls."""

    def _convert_operator(self, op_name: str, inputs: Any, attrs: Any, opset: int) -> Any:
        name = attrs["tvm_custom"]["name"]
        try:
            result = super()._convert_operator(op_name, inputs, attrs, opset)
        except Exception as error:
            opaque = self._opaque(self._by_name.get(name), inputs)
            if opaque is None:
                raise ValueError(f"the operator {op_name} of the node {name!r} can't be read: {error}") from error
            return opaque
        if isinstance(result, relax.Call) and isinstance(result.ty, relax.TensorType):
            return self.bb.emit(result, name_hint=name)
        return result

    def _opaque(self, node: Any, inputs: Any) -> Any:
        """Return what stands for a node; None where nobody knows the shapes of its outputs."""
        if node is None:
            return None
        kinds = [self._type_of(output) for output in node.output if output]
        if not kinds or None in kinds:
            return None
        tensors = [
            value for value in inputs if isinstance(value, relax.Expr) and isinstance(value.ty, relax.TensorType)
        ]
        symbol = UNTRANSLATED + node.op_type
        outputs = [
            self.bb.emit(relax.call_pure_packed(symbol, *tensors, ty_args=kind), name_hint=node.name) for kind in kinds
        ]
        return outputs[0] if len(outputs) == 1 else relax.Tuple(outputs)

    def _type_of(self, output: str) -> Any:
        if self._types is None:
            self._types = _inferred(self._proto)
        return self._types.get(output)


def _layer_name(node: Any) -> str:
    """Return what to call a node: after its weight (`layer1.conv1.weight`), or its own name (`/layer1/conv1/Conv`)."""
    weights = (match[1] for name in node.input[1:2] if (match := re.fullmatch(r"(.*\w)\.weight", name)))
    own = re.sub(rf"/{re.escape(node.op_type)}(_\d+)?$", "", str(node.name)).strip("/")
    return next(weights, own) or str(node.op_type)


def _inferred(proto: Any) -> dict[str, Any]:
    """Return the Relax types of a graph's values, as far as ONNX infers them."""
    import onnx
    from onnx import helper

    try:
        graph = onnx.shape_inference.infer_shapes(proto, data_prop=True).graph
    except (onnx.shape_inference.InferenceError, ValueError):
        graph = proto.graph
    found = {}
    for value in (*graph.value_info, *graph.output):
        kind = value.type.tensor_type
        sizes = [int(axis.dim_value) for axis in kind.shape.dim]
        if kind.HasField("shape") and all(size > 0 for size in sizes):
            found[value.name] = relax.TensorType(sizes, str(helper.tensor_dtype_to_np_dtype(kind.elem_type)))
    return found
