"""Reads gluoncv and MXNet models as Relax modules."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tophub_registry.errors import MissingExtra
from tophub_registry.frontends.model import Model

__all__ = ["read"]


def read(
    model: Any,
    *,
    batch: int = 1,
    shapes: Mapping[str, Sequence[int]] | None = None,
    params: Path | None = None,
    weightless: bool = False,
) -> Model:
    """Translate a model from its MXNet symbol to Relax.

    Parameters
    ----------
    model
        A name that `gluoncv.model_zoo.get_model` knows, the path of a symbol file, which ends in `.json`, or a
        hybridizable gluon block whose parameters are initialized.
    batch
        The batch size of the default input.
    shapes
        Shapes of inputs by name, batch included, instead of the default input. A block's input is named `data`.
    params
        The file with the weights; by default, the last of the files `NAME-0000.params` beside `NAME-symbol.json`. A
        gluoncv name without it gets random weights, the same each time, with non-trivial batch norms.
    weightless
        Whether to use zeros instead of weights from files or random ones, as for listing tasks.

    Returns
    -------
    Model
        Values that depend only on weights (a detector's anchors) are constants. Variables are named after layers.

    Raises
    ------
    UsageError
        There is no such model, or the shapes don't fit it.
    InputError
        A file is missing or malformed, or weights are missing or don't fit.
    MissingExtra
        MXNet, gluoncv or TVM is not installed.
    """
    from tophub_registry.frontends.mxnet import libraries, names

    try:
        libraries.mxnet()
    except MissingExtra:
        if isinstance(model, str) and not model.endswith(".json"):
            names.check(model)  # no extra helps with a mistyped name
        raise
    try:
        from tophub_registry.frontends.mxnet.translation import translate_source
    except ImportError as error:
        raise MissingExtra("compile", error) from error
    from tophub_registry.frontends.mxnet.checkpoint import read_source

    source = read_source(model, batch=batch, shapes=shapes, params=params, weightless=weightless)
    return translate_source(source)
