"""Reads ONNX models with TVM's own front end, with support for external data, open sizes and unknown operators."""

from __future__ import annotations

import re
import warnings
from collections.abc import Mapping, Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass, field
from functools import cached_property
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from tophub_registry.errors import EnvironmentFailure, InputError, MissingExtra, UsageError
from tophub_registry.frontends.model import Model
from tophub_registry.frontends.shapes import Sizes, fixed
from tophub_registry.frontends.torn import unreadable

if TYPE_CHECKING:
    import numpy as np

_OPSET = 13
"""The default, for a model that does not declare its own."""


@dataclass(frozen=True)
class OnnxModel:
    """An ONNX model with fixed input sizes.

    Attributes
    ----------
    proto
        The `onnx.ModelProto`, including external data.
    """

    framework: ClassVar[str] = "ONNX Runtime"

    proto: Any = field(repr=False)

    def run(self, inputs: Mapping[str, np.ndarray[Any, Any]]) -> list[np.ndarray[Any, Any]]:
        """Return the outputs for inputs given by name."""
        return list(self._session.run(None, dict(inputs)))

    def save(self, path: Path) -> None:
        """Write the model, with its weights in a file beside it."""
        import onnx

        copy = onnx.ModelProto.FromString(self.proto.SerializeToString())
        onnx.save(copy, path, save_as_external_data=True, location=f"{path.name}.data")

    @cached_property
    def _session(self) -> Any:
        try:
            import onnxruntime
        except ImportError as error:
            raise MissingExtra("onnx", error) from error
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        return onnxruntime.InferenceSession(self.proto.SerializeToString(), options, ["CPUExecutionProvider"])


def read(model: Any, *, batch: int = 1, shapes: Mapping[str, Sequence[int]] | None = None) -> Model:
    """Translate an ONNX model.

    Parameters
    ----------
    model
        The path of a file, with its external data in the same folder, or an `onnx.ModelProto`.
    batch
        The value of a first size that is left open.
    shapes
        Shapes of inputs by name, if sizes are open.

    Raises
    ------
    UsageError
        The shapes don't fit the model, or leave sizes open.
    InputError
        The file is missing, or is not an ONNX model.
    MissingExtra
        onnx or TVM is not installed.
    """
    try:
        import onnx

        from tophub_registry.frontends.onnx_importer import Importer
    except ImportError as error:
        raise MissingExtra("onnx", error) from error

    file = str(model) if isinstance(model, (str, Path)) else None
    proto = _load(Path(model)) if file else onnx.ModelProto.FromString(model.SerializeToString())
    _fix_sizes(proto, fixed(_inputs(proto), shapes or {}, batch=batch, file=file))
    from tophub_registry.frontends.normal_form import in_normal_form

    importer = Importer(proto)
    try:
        with warnings.catch_warnings(), redirect_stdout(StringIO()):
            warnings.simplefilter("ignore")
            module = importer.from_onnx(proto.graph, _opset(proto))
    except Exception as error:  # a malformed graph can raise anything
        importer.give_up()
        raise InputError(f"TVM can't read this ONNX model: {_reason(error, proto)}", file=file) from error
    names = [*_inputs(proto)]
    params = module["main"].params
    return Model(
        name=file or str(proto.graph.name or "model"),
        module=in_normal_form(module),
        inputs={
            name: (tuple(map(int, param.ty.shape)), str(param.ty.dtype))
            for name, param in zip(names, params, strict=True)
        },
        outputs=[output.name for output in proto.graph.output],
        original=OnnxModel(proto),
    )


def _load(path: Path) -> Any:
    import onnx
    from google.protobuf.message import DecodeError

    try:
        proto = onnx.load(path, load_external_data=False)
        if not proto.graph.node:
            raise unreadable(path, "an ONNX model")
        onnx.load_external_data_for_model(proto, str(path.parent))
    except FileNotFoundError as error:
        missing = Path(str(error.filename)) if error.filename else path
        raise InputError("no such file", file=missing) from error
    except DecodeError as error:
        raise unreadable(path, "an ONNX model") from error
    except (onnx.checker.ValidationError, ValueError, RuntimeError) as error:
        raise InputError(f"its weights can't be read: {_first_line(error)}", file=path) from error
    except OSError as error:
        raise EnvironmentFailure(f"can't be read: {error.strerror or error}", file=path) from error
    return proto


def _inputs(proto: Any) -> dict[str, Sizes]:
    """Return the sizes of the inputs that are not weights; an unnamed open size gets a unique name."""
    weights = {tensor.name for tensor in proto.graph.initializer}
    found: dict[str, Sizes] = {}
    for value in proto.graph.input:
        if value.name in weights:
            continue
        kind = value.type.tensor_type
        if not value.type.HasField("tensor_type") or not kind.HasField("shape"):
            raise UsageError(f"the input {value.name!r} is not a tensor with a known number of axes")
        found[value.name] = [
            int(axis.dim_value)
            if axis.HasField("dim_value") and axis.dim_value > 0
            else axis.dim_param or f"?{value.name}.{i}"
            for i, axis in enumerate(kind.shape.dim)
        ]
    return found


def _fix_sizes(proto: Any, shapes: Mapping[str, Sequence[int]]) -> None:
    for value in proto.graph.input:
        for axis, size in zip(value.type.tensor_type.shape.dim, shapes.get(value.name, ()), strict=False):
            axis.dim_value = size


def _opset(proto: Any) -> int:
    return next((int(each.version) for each in proto.opset_import if each.domain in {"", "ai.onnx"}), _OPSET)


def _reason(error: Exception, proto: Any) -> str:
    """Return why a model can't be read: a name that means nothing, or TVM's words."""
    name = error.args[0] if isinstance(error, KeyError) else None
    reader = next((node for node in proto.graph.node if name is not None and name in node.input), None)
    return _first_line(error) if reader is None else f"nothing makes {name!r}, an input of the node {reader.name!r}"


def _first_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return re.sub(r"^\[ONNXRuntimeError\] : ", "", lines[0])[:300] if lines else type(error).__name__
