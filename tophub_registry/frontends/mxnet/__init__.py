"""Models of gluoncv and MXNet as Relax modules, with their weights in them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tophub_registry.frontends.mxnet.imported import ImportedModel

__all__ = ["ImportedModel", "import_model"]


def import_model(
    model: Any, *, batch: int = 1, shapes: Mapping[str, Sequence[int]] | None = None, params: Path | None = None
) -> ImportedModel:
    """Translate a model straight from its MXNet symbol to Relax.

    Parameters
    ----------
    model
        A name that `gluoncv.model_zoo.get_model` knows, the path of a symbol file, which ends in `.json`, or a
        hybridizable gluon block whose parameters are there.
    batch
        The batch size of the model's usual input.
    shapes
        The inputs' shapes by name, batch included, instead of the usual input. A block's input is named `data`.
    params
        The file with the weights. Beside `NAME-symbol.json` the last of the files `NAME-0000.params` is taken.
        A gluoncv name without it gets random weights, the same at each import, and batch norms that do something.

    Returns
    -------
    ImportedModel
        A module with one Relax function, `main`, in float32 and NCHW, whose weights are constants. Batch norm is
        folded into the convolution or dense layer before it, dropout is gone, and what depends on weights alone
        (a detector's anchors) is computed. Variables have the names of the layers.

    Raises
    ------
    UsageError
        There is no such model, the shapes do not fit it, or it has operators that can't be translated; the error
        names them and the layers that need them.
    InputError
        A file is missing or is none, or weights are missing or do not fit.
    MissingExtra
        MXNet, gluoncv or TVM is not installed.
    """
    from tophub_registry.frontends.mxnet import libraries
    from tophub_registry.frontends.mxnet.source import read_source

    libraries.mxnet()
    source = read_source(model, batch=batch, shapes=shapes, params=params)
    from tophub_registry.frontends.mxnet.imported import translate_source

    return translate_source(source)
