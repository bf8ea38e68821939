"""TVM's ONNX importer, extended to name layers and to represent unknown operators by placeholders."""

from __future__ import annotations

import re
from contextlib import suppress
from typing import Any

from tvm import relax
from tvm.ir import GenericConst as Constant
from tvm.relax.frontend.onnx.onnx_frontend import ONNXGraphImporter

from tophub_registry.tasks.reading import UNTRANSLATED


class Importer(ONNXGraphImporter):  # type: ignore[misc]  # TVM has no types
    """Imports one model.

    Parameters
    ----------
    proto
        The model; its nodes get unique names.
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

    def give_up(self) -> None:
        """Leave the blocks that an error has left open, of which TVM would warn."""
        with suppress(Exception):  # there are no more
            while True:
                self.bb._end_block()  # noqa: SLF001  # there is no public way

    def _check_for_unsupported_ops(self, graph: Any) -> None:
        """Accept unsupported operators, which become opaque calls."""

    def _convert_operator(self, op_name: str, inputs: Any, attrs: Any, opset: int) -> Any:
        name = attrs["tvm_custom"]["name"]
        if op_name == "Conv":
            _make_padding_explicit(inputs, attrs)
        try:
            result = _padded(inputs, attrs) if op_name == "Pad" else None
            if result is None:
                result = super()._convert_operator(op_name, inputs, attrs, opset)
        except Exception as error:
            opaque = self._opaque(self._by_name.get(name), inputs)
            if opaque is None:
                raise ValueError(f"the operator {op_name} of the node {name!r} can't be read: {error}") from error
            return opaque
        if isinstance(result, relax.Call):
            result = self.bb.normalize(result)
            if isinstance(result.ty, relax.TensorType):
                return self.bb.emit(result, name_hint=name)
        return result

    def _opaque(self, node: Any, inputs: Any) -> Any:
        """Return a placeholder for a node; None if the shapes of its outputs are unknown."""
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


def _make_padding_explicit(inputs: Any, attrs: Any) -> None:
    """Replace a convolution's `auto_pad` by explicit `pads`; TVM would pad in a separate function."""
    mode = attrs.get("auto_pad", b"NOTSET")
    if mode not in {b"SAME_UPPER", b"SAME_LOWER"}:
        return
    sizes, kernel = (tuple(map(int, value.ty.shape))[2:] for value in inputs[:2])
    strides, dilations = (attrs.get(name, (1,) * len(sizes)) for name in ("strides", "dilations"))
    less, more = [], []
    for size, reach, stride, dilation in zip(sizes, kernel, strides, dilations, strict=True):
        missing = max((-(-size // stride) - 1) * stride + (reach - 1) * dilation + 1 - size, 0)
        less.append(missing // 2)
        more.append(missing - missing // 2)
    attrs["pads"] = (*less, *more) if mode == b"SAME_UPPER" else (*more, *less)
    attrs["auto_pad"] = b"NOTSET"


def _padded(inputs: Any, attrs: Any) -> Any:
    """Return zero padding as Relax's own operator, which can be folded into a convolution; None for other padding."""
    if attrs.get("mode", b"constant") != b"constant":
        return None
    widths = attrs.get("pads")
    value = attrs.get("value", 0)
    if len(inputs) > 1:  # since opset 11
        pads, zero, axes = (*inputs[1:], None, None)[:3]
        if axes is not None or not isinstance(pads, Constant) or not (zero is None or isinstance(zero, Constant)):
            return None
        widths = pads.value.numpy().tolist()
        value = 0 if zero is None else float(zero.value.numpy())
    if widths is None or value != 0 or min(widths) < 0:
        return None
    half = len(widths) // 2
    pairs = zip(widths[:half], widths[half:], strict=True)
    return relax.op.nn.pad(inputs[0], [width for pair in pairs for width in pair])


def _layer_name(node: Any) -> str:
    """Return the name for a node: its weight's (`layer1.conv1.weight`) or its own (`/layer1/conv1/Conv`)."""
    weights = (match[1] for name in node.input[1:2] if (match := re.fullmatch(r"(.*\w)\.weight", name)))
    own = re.sub(rf"/{re.escape(node.op_type)}(_\d+)?$", "", str(node.name)).strip("/")
    return next(weights, own) or str(node.op_type)


def _inferred(proto: Any) -> dict[str, Any]:
    """Return the Relax types of a graph's values, if ONNX can infer them."""
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
