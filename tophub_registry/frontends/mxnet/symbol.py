"""MXNet symbols of gluoncv models, gluon blocks and files."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tophub_registry.errors import InputError, UsageError
from tophub_registry.frontends.mxnet import libraries, names
from tophub_registry.frontends.mxnet.libraries import quiet, reason_of
from tophub_registry.frontends.torn import unreadable

_NO_WEIGHTS = object()
"""Stands for the file of a base network's weights."""


def zoo_symbol(name: str, inputs: Iterable[str]) -> Any:
    """Return the symbol of a gluoncv model applied to inputs of these names.

    Raises
    ------
    UsageError
        There is no such model, it is quantised, or gluoncv can't build it.
    MissingExtra
        MXNet or gluoncv is not installed.
    """
    mx = libraries.mxnet()
    names.check(name, list(libraries.gluoncv().model_zoo.get_model_list()))
    if name.lower().endswith("_int8"):
        raise UsageError(f"{name!r} is quantised", remedy="only models in float32 have tasks")
    # Without its own name manager, layer numbers continue from earlier models in this process.
    with mx.name.NameManager(), quiet():
        try:
            return symbol_of(zoo_block(name), inputs)
        except Exception as error:
            raise UsageError(f"gluoncv can't build {name!r}: {reason_of(error)}") from error


def zoo_block(name: str) -> Any:
    """Instantiate a gluoncv model without pretrained weights, including those of its base network."""
    get_model = libraries.gluoncv().model_zoo.get_model
    with _without_weights():
        try:
            return get_model(name, pretrained=False, pretrained_base=False)
        except (TypeError, Warning):  # a model without a base network rejects the argument; one model raises a Warning
            return get_model(name, pretrained=False)


@contextmanager
def _without_weights() -> Iterator[None]:
    """Keep gluoncv from downloading weights, as some models do for a base network, and from moving missing ones."""
    gluon, store = libraries.mxnet().gluon, libraries.gluoncv().model_zoo.model_store
    load, find, move = gluon.Block.load_parameters, store.get_model_file, gluon.ParameterDict.reset_ctx

    def loading(self: Any, filename: Any, *args: Any, **options: Any) -> None:
        if filename is not _NO_WEIGHTS:
            load(self, filename, *args, **options)

    gluon.Block.load_parameters, store.get_model_file = loading, lambda *_, **__: _NO_WEIGHTS
    gluon.ParameterDict.reset_ctx = lambda *_: None
    try:
        yield
    finally:
        gluon.Block.load_parameters, store.get_model_file, gluon.ParameterDict.reset_ctx = load, find, move


def symbol_of(block: Any, inputs: Iterable[str]) -> Any:
    """Return the symbol of a gluon block applied to inputs of these names."""
    mx = libraries.mxnet()
    return mx.sym.Group(list(_flat(block(*map(mx.sym.var, inputs)))))


def load_symbol(path: Path) -> Any:
    """Load a symbol file.

    Raises
    ------
    InputError
        The file is missing, can't be read, or is not a symbol file.
    MissingExtra
        MXNet is not installed.
    """
    mx = libraries.mxnet()
    try:
        text = path.read_bytes()
    except FileNotFoundError as error:
        raise InputError("no such file", file=path) from error
    except OSError as error:
        raise InputError(f"can't be read: {error.strerror or error}", file=path) from error
    try:
        graph = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise unreadable(path, "an MXNet symbol file", line=getattr(error, "lineno", None)) from error
    if not isinstance(graph, dict) or not isinstance(graph.get("nodes"), list):
        raise InputError("not an MXNet symbol file: it has no nodes", file=path)
    try:
        return mx.sym.load_json(text.decode())
    except (mx.base.MXNetError, ValueError) as error:
        if custom := re.search(r"Cannot find custom operator (\S+)", str(error)):
            raise InputError(
                f"its operator {custom[1]!r} is written in Python, and can't be translated",
                file=path,
                remedy="use operators of MXNet's own instead",
            ) from error
        raise InputError(f"not an MXNet symbol file: {reason_of(error)}", file=path) from error


def _flat(outputs: Any) -> Iterator[Any]:
    """Yield the symbols in nested lists and dicts."""
    if isinstance(outputs, dict):
        outputs = list(outputs.values())
    if isinstance(outputs, (list, tuple)):
        for output in outputs:
            yield from _flat(output)
    else:
        yield outputs
