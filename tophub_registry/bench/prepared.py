"""A model in a folder, in a form for every framework, with inputs and the outputs of the model's own framework.

It is prepared where that framework is installed, and can be measured anywhere.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tophub_registry.bench.network import Network
from tophub_registry.errors import InputError, UsageError
from tophub_registry.files import make_folder

if TYPE_CHECKING:
    from tophub_registry.frontends import Model

Array = np.ndarray[Any, Any]

_DESCRIPTION = "model.json"
_INPUTS, _REFERENCES = "inputs.npz", "references.npz"
_SYMBOL, _PARAMS = "model-symbol.json", "model-0000.params"
_ONNX, _TORCH = "model.onnx", "model.pt2"


@dataclass(frozen=True)
class Prepared:
    """The content of a prepared folder.

    Attributes
    ----------
    model
        The model's name in the zoo, or its file's name.
    framework
        The model's own, which computed the references.
    shapes, dtypes
        Of the inputs, by name.
    outputs
        Names, in their order.
    random_weights
        Whether the weights are random, as those of a gluoncv name are.
    untranslated
        Why the model can't be translated to other frameworks; empty if it can.
    detector
        Whether it sorts: it then returns detections, sorted by score.
    """

    folder: Path
    model: str
    framework: str
    shapes: Mapping[str, Sequence[int]]
    dtypes: Mapping[str, str]
    outputs: Sequence[str]
    random_weights: bool = False
    untranslated: str = ""
    detector: bool = False

    @classmethod
    def read(cls, folder: Path) -> Prepared:
        """Open a folder that `prepare` wrote.

        Raises
        ------
        InputError
            Not a prepared folder.
        """
        try:
            said = json.loads((folder / _DESCRIPTION).read_text(encoding="utf-8"))
            return cls(folder, **said)
        except (OSError, ValueError, TypeError) as error:
            raise InputError(
                "no prepared model", file=folder, remedy="write one by `tophub bench MODEL --prepare FOLDER`"
            ) from error

    @property
    def symbol(self) -> Path:
        """MXNet's symbol file; only MXNet's models have it."""
        return self.folder / _SYMBOL

    @property
    def params(self) -> Path:
        """MXNet's file with weights; only MXNet's models have it."""
        return self.folder / _PARAMS

    @property
    def onnx(self) -> Path:
        """The model's ONNX file; only ONNX models have it."""
        return self.folder / _ONNX

    @property
    def torch(self) -> Path:
        """The model's `torch.export` program; only PyTorch models have it."""
        return self.folder / _TORCH

    def inputs(self) -> list[Array]:
        """Return the inputs, in the order of `shapes`."""
        return read_arrays(self.folder / _INPUTS)

    def references(self) -> list[Array]:
        """Return the outputs that the model's own framework computed.

        Raises
        ------
        InputError
            The folder was written without them.
        """
        path = self.folder / _REFERENCES
        if not path.exists():
            raise InputError(
                "there are no outputs to compare with",
                file=path,
                remedy="write the folder anew by `tophub bench MODEL --prepare FOLDER`",
            )
        return read_arrays(path)

    def network(self) -> Network:
        """Return the network in a framework-neutral form.

        Raises
        ------
        UsageError
            It can't be translated.
        """
        if self.untranslated:
            raise UsageError(self.untranslated)
        return Network.read(self.folder)

    def read_model(self) -> Model:
        """Return the model for our compiler."""
        from tophub_registry.bench.relax_files import read_module
        from tophub_registry.frontends.model import Model
        from tophub_registry.frontends.relax import RelaxModule

        module = read_module(self.folder)
        inputs = {name: (tuple(shape), self.dtypes[name]) for name, shape in self.shapes.items()}
        return Model(self.model, module, inputs, [*self.outputs], RelaxModule(module))


def prepare(
    model: str,
    folder: Path,
    *,
    params: Path | None = None,
    shapes: Mapping[str, Sequence[int]] | None = None,
    references: bool = True,
) -> Prepared:
    """Read a model and write it into a folder, with random inputs and the outputs of its own framework.

    Parameters
    ----------
    model, params, shapes
        As `frontends.read_model` takes them.
    references
        Whether to compute those outputs, which takes long for some models.

    Raises
    ------
    UsageError, InputError, MissingExtra
        As `read_model` does.
    """
    from tophub_registry.frontends import read_model

    read = read_model(model, shapes=shapes, params=params)
    read.check_translated()
    return write_prepared(read, folder, references=references)


def write_prepared(model: Model, folder: Path, *, references: bool = False) -> Prepared:
    """Write a model into a folder, with random inputs, and if wanted the outputs of its own framework."""
    from tophub_registry.bench.relax_files import write_module
    from tophub_registry.bench.relax_network import network_of

    inputs = model.random_inputs()
    make_folder(folder)
    write_arrays(folder / _INPUTS, inputs)
    if references:
        write_arrays(folder / _REFERENCES, model.reference(*inputs))
    untranslated, detector = "", False
    try:
        network = network_of(model.module)
        network.write(folder)
        detector = network.sorts
    except UsageError as error:
        untranslated = error.message
    write_module(folder, model.module)
    _write_original(model.original, folder)
    described = {
        "model": Path(model.name).name.removesuffix("-symbol.json"),
        "framework": model.original.framework,
        "shapes": {name: shape for name, (shape, _) in model.inputs.items()},
        "dtypes": {name: dtype for name, (_, dtype) in model.inputs.items()},
        "outputs": [*model.outputs],
        "random_weights": model.random_weights,
        "untranslated": untranslated,
        "detector": detector,
    }
    (folder / _DESCRIPTION).write_text(
        json.dumps(described) + "\n", encoding="utf-8"
    )  # last, so that a folder with it is complete
    return Prepared.read(folder)


def _write_original(original: Any, folder: Path) -> None:
    """Write a model for its own framework; a Relax module is there already."""
    from tophub_registry.frontends.mxnet.original import MXNetModel
    from tophub_registry.frontends.onnx import OnnxModel
    from tophub_registry.frontends.pytorch import TorchProgram

    if isinstance(original, MXNetModel):
        original.save(folder / _SYMBOL, folder / _PARAMS)
    elif isinstance(original, OnnxModel):
        original.save(folder / _ONNX)
    elif isinstance(original, TorchProgram):
        original.save(folder / _TORCH)


def read_or_prepare(
    model: str, folder: Path, *, params: Path | None = None, shapes: Mapping[str, Sequence[int]] | None = None
) -> Prepared:
    """Open the folder that `model` names, or prepare the model in `folder`.

    Raises
    ------
    UsageError, InputError, MissingExtra
        As `prepare` and `Prepared.read` do; a prepared model takes neither weights nor shapes.
    """
    if not Path(model).is_dir():
        return prepare(model, folder, params=params, shapes=shapes)
    if params or shapes:
        raise UsageError("a prepared model has its weights and shapes", file=model)
    return Prepared.read(Path(model))


def write_arrays(path: Path, arrays: Sequence[Array]) -> None:
    """Write arrays into a file, in their order."""
    np.savez(path, *arrays)


def read_arrays(path: Path) -> list[Array]:
    """Read what `write_arrays` wrote."""
    with np.load(path) as archive:
        return [archive[f"arr_{index}"] for index in range(len(archive.files))]
