"""Reads the symbol and the weights, if any, of a model given as a name, a file or a block."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tophub_registry.errors import EnvironmentFailure, InputError, UsageError
from tophub_registry.frontends.mxnet import libraries
from tophub_registry.frontends.mxnet.dtypes import check_dtypes
from tophub_registry.frontends.mxnet.inputs import default_shape, default_shapes
from tophub_registry.frontends.mxnet.libraries import quiet, reason_of
from tophub_registry.frontends.mxnet.symbol import load_symbol, symbol_of, zoo_block, zoo_symbol
from tophub_registry.frontends.torn import unreadable
from tophub_registry.tasks.layers import Shape

Weights = Mapping[str, "np.ndarray[Any, Any]"]


@dataclass(frozen=True)
class Checkpoint:
    """A model before its translation.

    Attributes
    ----------
    file
        The symbol file, if there is one.
    symbol
        MXNet's symbol.
    inputs
        The inputs' shapes, by name.
    weights
        By name; None if there are none and they must be generated.
    weightless
        Whether generated weights are zeros instead of random.
    weights_file
        The file that the weights were read from.
    """

    name: str
    file: str | None
    symbol: Any
    inputs: Mapping[str, Shape]
    weights: Weights | None
    weights_file: str | None = None
    weightless: bool = False


def read_source(
    model: Any,
    *,
    batch: int,
    shapes: Mapping[str, Sequence[int]] | None,
    params: Path | None,
    weightless: bool = False,
) -> Checkpoint:
    """Read a model's symbol and weights; see `frontends.mxnet.read`."""
    chosen = {key: tuple(shape) for key, shape in (shapes or {}).items()}
    if not isinstance(model, (str, Path)):
        return _of_block(model, chosen or {"data": default_shape("", batch)}, params)
    if isinstance(model, Path) or model.endswith(".json"):
        path = Path(model)
        symbol = load_symbol(path)
        inputs = chosen or {"data": default_shape(path.name.lower(), batch)}
        if weightless:
            return Checkpoint(str(model), str(model), symbol, inputs, None, weightless=True)
        weights_file = params or _beside(path)
        return Checkpoint(str(model), str(model), symbol, inputs, _read_weights(weights_file), str(weights_file))
    usual = default_shapes(model.lower(), batch)
    symbol, inputs = zoo_symbol(model, usual), usual | chosen
    if params is None or weightless:
        return Checkpoint(model.lower(), None, symbol, inputs, None, weightless=weightless)
    return _named_with_weights(model, symbol, inputs, params)


def _named_with_weights(name: str, symbol: Any, inputs: Mapping[str, Shape], params: Path) -> Checkpoint:
    """Read a gluoncv model with a file of weights, exported or saved by gluon."""
    weights = _read_weights(params)
    if not any("." in key for key in weights):
        return Checkpoint(name, None, symbol, inputs, weights, str(params))
    mx = libraries.mxnet()
    with mx.name.NameManager(), quiet():
        block = zoo_block(name)
        try:
            block.load_parameters(str(params))
        except Exception as error:  # MXNet can raise anything: AssertionError, ValueError, its own
            raise InputError(f"these are not the weights of {name!r}: {reason_of(error)}", file=params) from error
    found = _of_block(block, inputs, None)
    return Checkpoint(name, None, found.symbol, inputs, found.weights, str(params))


def _of_block(block: Any, inputs: Mapping[str, Shape], params: Path | None) -> Checkpoint:
    """Read a gluon block."""
    mx = libraries.mxnet()
    if not isinstance(block, mx.gluon.HybridBlock):
        raise UsageError(
            f"a {type(block).__name__} is not a model", remedy="give a name, a symbol file or a HybridBlock"
        )
    if params is not None:
        raise UsageError("a block contains its weights", remedy="leave out the file with weights")
    with quiet():
        try:
            symbol = symbol_of(block, inputs)
            check_dtypes(json.loads(symbol.tojson()), file=None)
            if any(parameter._deferred_init for parameter in block.collect_params().values()):  # noqa: SLF001  # there is no public way
                block(*(mx.nd.zeros(shape) for shape in inputs.values()))
            weights = {name: parameter.data().asnumpy() for name, parameter in block.collect_params().items()}
        except UsageError:
            raise
        except Exception as error:
            raise UsageError(f"the block {block.name!r} can't be read: {reason_of(error)}") from error
    return Checkpoint(block.name, None, symbol, inputs, weights)


def _beside(symbol: Path) -> Path:
    """Return the weights file of the last epoch beside a symbol file."""
    prefix = re.sub(r"-symbol$", "", symbol.stem)
    candidates = sorted(symbol.parent.glob(f"{_literal(prefix)}-[0-9][0-9][0-9][0-9].params"))
    if not candidates:
        raise InputError(
            "there is no weights file beside it", file=symbol, remedy=f"it needs a file such as {prefix}-0000.params"
        )
    return candidates[-1]


def _literal(text: str) -> str:
    return re.sub(r"([*?[])", r"[\1]", text)


def _read_weights(path: Path) -> Weights:
    """Read a weights file, dropping the prefixes for arguments and auxiliary states."""
    mx = libraries.mxnet()
    if not path.is_file():
        raise InputError("no such file", file=path)
    try:
        loaded = mx.nd.load(str(path))
    except mx.base.MXNetError as error:
        raise unreadable(path, "a file of MXNet weights") from error
    except OSError as error:
        raise EnvironmentFailure(f"can't be read: {reason_of(error)}", file=path) from error
    if not isinstance(loaded, dict):
        raise InputError("the weights in it have no names", file=path)
    return {re.sub(r"^(arg|aux):", "", name): array.asnumpy() for name, array in loaded.items()}
