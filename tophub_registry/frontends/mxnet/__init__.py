"""Models of gluoncv and MXNet as Relax modules."""

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
    """Translate a model straight from its MXNet symbol to Relax.

    Parameters
    ----------
    model
        A name that `gluoncv.model_zoo.get_model` knows, the path of a symbol file, which ends in `.json`, or a
        hybridizable gluon block whose parameters are initialized.
    batch
        The batch size of the model's usual input.
    shapes
        The inputs' shapes by name, batch included, instead of the usual input. A block's input is named `data`.
    params
        The file with the weights. Beside `NAME-symbol.json` the last of the files `NAME-0000.params` is taken.
        A gluoncv name without it gets random weights, the same at each import, and batch norms that do something.
    weightless
        Whether zeros will do for weights that would have to be read from a file or drawn, as for listing tasks.

    Returns
    -------
    Model
        What depends on weights alone (a detector's anchors) is computed. Variables have the names of the layers.

    Raises
    ------
    UsageError
        There is no such model, or the shapes do not fit it.
    InputError
        A file is missing or malformed, or weights are missing or do not fit.
    MissingExtra
        MXNet, gluoncv or TVM is not installed.
    """
    from tophub_registry.frontends.mxnet import libraries

    libraries.mxnet()
    try:
        from tophub_registry.frontends.mxnet.translation import translate_source
    except ImportError as error:
        raise MissingExtra("compile", error) from error
    from tophub_registry.frontends.mxnet.checkpoint import read_source

    source = read_source(model, batch=batch, shapes=shapes, params=params, weightless=weightless)
    return translate_source(source)
