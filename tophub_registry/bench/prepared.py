"""A model in a folder, in the form of every framework, with inputs and what MXNet computes from them.

It is made where MXNet is, and measured anywhere: only MXNet's own process needs MXNet again.
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

if TYPE_CHECKING:
    from tophub_registry.frontends.mxnet import ImportedModel

Array = np.ndarray[Any, Any]

_DESCRIPTION = "model.json"
_INPUTS, _REFERENCES = "inputs.npz", "references.npz"
_SYMBOL, _PARAMS = "model-symbol.json", "model-0000.params"


@dataclass(frozen=True)
class Prepared:
    """What a folder holds.

    Attributes
    ----------
    model
        The name in the zoo, or of the symbol file.
    shapes
        The inputs' shapes by name; all in float32.
    outputs
        Names, in their order.
    random_weights
        Whether the weights are random, as those of a name alone are.
    """

    folder: Path
    model: str
    shapes: Mapping[str, Sequence[int]]
    outputs: Sequence[str]
    random_weights: bool = False

    @classmethod
    def read(cls, folder: Path) -> Prepared:
        """Open a folder that `prepare` wrote.

        Raises
        ------
        InputError
            It is none.
        """
        try:
            said = json.loads((folder / _DESCRIPTION).read_text(encoding="utf-8"))
            return cls(folder, said["model"], said["shapes"], said["outputs"], said.get("random_weights", False))
        except (OSError, ValueError, KeyError) as error:
            raise InputError(
                "no prepared model", file=folder, remedy="write one by `tophub bench MODEL --prepare FOLDER`"
            ) from error

    @property
    def symbol(self) -> Path:
        """MXNet's symbol file."""
        return self.folder / _SYMBOL

    @property
    def params(self) -> Path:
        """MXNet's file of weights."""
        return self.folder / _PARAMS

    def inputs(self) -> list[Array]:
        """Return the inputs, in the order of `shapes`."""
        return read_arrays(self.folder / _INPUTS)

    def references(self) -> list[Array]:
        """Return MXNet's outputs."""
        return read_arrays(self.folder / _REFERENCES)

    def network(self) -> Network:
        """Return the network in no framework's words."""
        return Network.read(self.folder)

    def imported(self) -> ImportedModel:
        """Return the model as our compiler takes it, without MXNet's symbol."""
        from tophub_registry.bench.relax_files import read_module
        from tophub_registry.frontends.mxnet.imported import ImportedModel

        inputs = {name: (tuple(shape), "float32") for name, shape in self.shapes.items()}
        return ImportedModel(read_module(self.folder), inputs, [*self.outputs], symbol=None, weights={})


def prepare(
    model: str, folder: Path, *, params: Path | None = None, shapes: Mapping[str, Sequence[int]] | None = None
) -> Prepared:
    """Import a model and write it into a folder, with random inputs and MXNet's outputs.

    Parameters
    ----------
    model, params, shapes
        As `import_model` takes them.

    Raises
    ------
    UsageError, InputError, MissingExtra
        As `import_model` does.
    """
    from tophub_registry.bench.relax_files import write_module
    from tophub_registry.bench.relax_network import network_of
    from tophub_registry.frontends.mxnet import import_model, libraries

    imported = import_model(model, shapes=shapes, params=params)
    mx = libraries.mxnet()
    generator = np.random.default_rng(0)
    inputs = [generator.standard_normal(shape, dtype="float32") for shape, _ in imported.inputs.values()]
    folder.mkdir(parents=True, exist_ok=True)
    write_arrays(folder / _INPUTS, inputs)
    write_arrays(folder / _REFERENCES, imported.reference(*inputs))
    network_of(imported.module).write(folder)
    write_module(folder, imported.module)
    imported.symbol.save(str(folder / _SYMBOL))
    auxiliary = set(imported.symbol.list_auxiliary_states())
    mx.nd.save(
        str(folder / _PARAMS),
        {("aux:" if name in auxiliary else "arg:") + name: mx.nd.array(w) for name, w in imported.weights.items()},
    )
    described = {
        "model": Path(model).name.removesuffix("-symbol.json"),
        "shapes": {name: shape for name, (shape, _) in imported.inputs.items()},
        "outputs": imported.outputs,
        "random_weights": imported.random_weights,
    }
    (folder / _DESCRIPTION).write_text(json.dumps(described) + "\n", encoding="utf-8")  # the last: the folder is whole
    return Prepared.read(folder)


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
