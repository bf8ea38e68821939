"""Reads MXNet, ONNX, PyTorch and Relax models, and translates them to Relax modules."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tophub_registry.errors import InputError, UsageError
from tophub_registry.frontends.model import Model

__all__ = ["KINDS", "Model", "is_relax_module", "read_for_timing", "read_model"]

KINDS = (
    "a gluoncv model's name, or a file: ONNX (.onnx), torch.export (.pt2), a Relax module or an MXNet symbol (.json)"
)
"""The forms that a model on the command line can take."""


def read_model(
    model: Any,
    *,
    batch: int = 1,
    shapes: Mapping[str, Sequence[int]] | None = None,
    params: str | Path | None = None,
    weightless: bool = False,
) -> Model:
    """Read a model of any kind, and translate it to Relax; see `tophub_registry.read_model`.

    Parameters
    ----------
    weightless
        Whether the weights are not needed, as for listing tasks; their files need not exist then.
    """
    if isinstance(model, Model):
        return model
    weights = None if params is None else Path(params)
    kind = _kind(model)
    if kind in {"onnx", "torch"} and weights is not None:
        raise UsageError("this kind of model contains its weights", remedy="leave out the file with weights")
    if kind == "onnx":
        from tophub_registry.frontends import onnx

        return onnx.read(model, batch=batch, shapes=shapes)
    if kind == "torch":
        from tophub_registry.frontends import pytorch

        return pytorch.read(model, batch=batch, shapes=shapes)
    if kind == "relax":
        from tophub_registry.frontends import relax

        return relax.read(model, batch=batch, shapes=shapes, params=weights)
    from tophub_registry.frontends import mxnet

    return mxnet.read(model, batch=batch, shapes=shapes, params=weights, weightless=weightless)


def read_for_timing(model: Any, *, batch: int = 1, shapes: Mapping[str, Sequence[int]] | None = None) -> Model:
    """Read a model as `read_model` does, or with zeros if its weights are missing: it takes as long to run."""
    try:
        return read_model(model, batch=batch, shapes=shapes)
    except InputError:
        return read_model(model, batch=batch, shapes=shapes, weightless=True)


def _kind(model: Any) -> str:
    """Return the front end for a model: `onnx`, `torch`, `relax` or `mxnet`."""
    if isinstance(model, (str, Path)):
        return _kind_of_file(Path(model)) if isinstance(model, Path) or _is_file_name(model) else "mxnet"
    libraries = {ancestor.__module__.split(".")[0] for ancestor in type(model).__mro__}
    return next((kind for library, kind in _LIBRARIES.items() if library in libraries), "mxnet")


def _is_file_name(text: str) -> bool:
    path = Path(text)
    known = path.suffix in {*_SUFFIXES, ".json", ".pt", ".pth"}
    return known or "/" in text or ("." in text and (path.exists() or _is_no_name(text)))


def _is_no_name(text: str) -> bool:
    """Whether a text with a dot ends like a file, and is not the name of a model."""
    from tophub_registry.frontends.mxnet.names import NAMES

    return Path(text).suffix[1:].isalpha() and text.lower() not in NAMES


_LIBRARIES = {"onnx": "onnx", "torch": "torch", "tvm": "relax"}
_SUFFIXES = {".onnx": "onnx", ".pt2": "torch"}


def _kind_of_file(path: Path) -> str:
    if path.is_dir():
        raise UsageError("this is a folder", file=path, remedy=f"give {KINDS}")
    if path.suffix in _SUFFIXES:
        return _SUFFIXES[path.suffix]
    if path.suffix in {".pt", ".pth"}:
        raise UsageError(
            "PyTorch weights without the model",
            file=path,
            remedy="torch.export.save(torch.export.export(model, (input,)), 'model.pt2')",
        )
    if path.suffix != ".json":
        if not path.exists():
            raise InputError("no such file", file=path)
        raise UsageError("not a model in a supported format", file=path, remedy=f"give {KINDS}")
    return "relax" if is_relax_module(path) else "mxnet"


def is_relax_module(path: Path) -> bool:
    """Return whether a JSON file was written by `tvm.ir.save_json`: it begins with `root_index`."""
    try:
        with path.open("rb") as stream:
            return b'"root_index"' in stream.read(64)
    except OSError:
        return False  # the reader reports the error
