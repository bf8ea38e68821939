"""A network in a folder, in a form that every framework can read: its operations in order, and its weights.

It is made from the Relax module, in a framework-neutral form, so that each peer computes the same network with the same
weights. Reading it needs NumPy only: a peer's process imports neither TVM nor MXNet.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from tophub_registry.errors import UsageError

Array = np.ndarray[Any, Any]
Attribute = int | float | str | bool | list[int] | list[float]

_GRAPH, _WEIGHTS = "network.json", "network.npz"
_CONVOLUTION = re.compile(r"nn\.conv\dd(_transpose)?")
_SORTING = frozenset({"argsort", "box_suppression", "topk"})


@dataclass(frozen=True)
class Operation:
    """One operation.

    Attributes
    ----------
    kind
        The operator's name in Relax, without `relax.`: `nn.conv2d`, for example. One is our own: `box_suppression`,
        which stands for `get_valid_counts` and `non_max_suppression`.
    inputs
        Names of the network's inputs, of weights, or of other operations' outputs.
    output, shape, dtype
        Name, shape and dtype of the output.
    """

    kind: str
    inputs: tuple[str, ...]
    output: str
    shape: tuple[int, ...]
    dtype: str
    attributes: Mapping[str, Attribute]

    def numbers(self, name: str) -> list[int]:
        """Return an attribute that is a list of integers."""
        return [int(number) for number in self.reals(name)]

    def reals(self, name: str) -> list[float]:
        """Return an attribute that is a list of numbers."""
        value = self.attributes[name]
        assert isinstance(value, list)  # noqa: S101  # every operation is written with the attributes of its kind
        return [*value]

    def number(self, name: str) -> int:
        """Return an attribute that is an integer."""
        return int(self.attributes[name])  # type: ignore[arg-type]  # as above

    def real(self, name: str) -> float:
        """Return an attribute that is a number."""
        return float(self.attributes[name])  # type: ignore[arg-type]  # as above

    def word(self, name: str) -> str:
        """Return an attribute that is a string."""
        return str(self.attributes[name])


@dataclass(frozen=True)
class Network:
    """Operations in an order in which they can be computed.

    Attributes
    ----------
    inputs
        Shapes by name.
    weights
        Arrays by name.
    outputs
        Names, in their order.
    dtypes
        Of the inputs, by name; float32 where it names none.
    """

    inputs: Mapping[str, tuple[int, ...]]
    operations: tuple[Operation, ...]
    outputs: tuple[str, ...]
    weights: Mapping[str, Array]
    dtypes: Mapping[str, str] = field(default_factory=dict)

    @property
    def is_static(self) -> bool:
        """Whether the computation is independent of the data; it is not where boxes are suppressed."""
        return all(operation.kind != "box_suppression" for operation in self.operations)

    @property
    def sorts(self) -> bool:
        """Whether it sorts, as detectors do with their boxes; the order of equal numbers is then arbitrary."""
        return any(operation.kind in _SORTING for operation in self.operations)

    def check_kinds(self, known: Mapping[str, object], framework: str) -> None:
        """Raise UsageError if a framework's table lacks the kind of an operation."""
        missing = sorted({operation.kind for operation in self.operations} - set(known))
        if missing:
            raise UsageError(f"not translated to {framework} yet: {', '.join(missing)}")

    def with_biases(self) -> Network:
        """Return the network with biases as inputs of their convolutions, which frameworks compute in one step."""
        uses = Counter(name for operation in self.operations for name in operation.inputs)
        uses.update(self.outputs)
        weights = dict(self.weights)
        found: dict[str, Operation] = {}
        for operation in self.operations:
            layer = found.get(operation.inputs[0]) if operation.inputs else None
            if operation.kind != "add" or layer is None or len(operation.inputs) != 2 or uses[layer.output] != 1:  # noqa: PLR2004
                found[operation.output] = operation
                continue
            bias = weights.get(operation.inputs[1])
            takes = _CONVOLUTION.fullmatch(layer.kind) and len(layer.inputs) == 2  # noqa: PLR2004
            if bias is None or not takes or bias.shape != (1, layer.shape[1], *(1,) * (len(layer.shape) - 2)):
                found[operation.output] = operation
                continue
            name = f"{operation.inputs[1]}_flat"
            weights[name] = bias.reshape(-1)
            del found[layer.output]
            found[operation.output] = replace(layer, inputs=(*layer.inputs, name), output=operation.output)
        used = {name for operation in found.values() for name in operation.inputs} | set(self.outputs)
        kept = {name: array for name, array in weights.items() if name in used}
        return replace(self, operations=tuple(found.values()), weights=kept)

    def write(self, folder: Path) -> None:
        """Write the network into a folder."""
        graph = {
            "inputs": self.inputs,
            "operations": [asdict(operation) for operation in self.operations],
            "outputs": self.outputs,
            "weights": [*self.weights],
            "dtypes": self.dtypes,
        }
        (folder / _GRAPH).write_text(json.dumps(graph), encoding="utf-8")
        # The weights' names are the model's, and not always valid file names, as the archive would need.
        np.savez(folder / _WEIGHTS, *self.weights.values())

    @classmethod
    def read(cls, folder: Path) -> Network:
        """Read what `write` wrote."""
        graph = json.loads((folder / _GRAPH).read_text(encoding="utf-8"))
        with np.load(folder / _WEIGHTS) as archive:
            weights = {name: archive[f"arr_{index}"] for index, name in enumerate(graph["weights"])}
        operations = tuple(
            Operation(**{**fields, "inputs": tuple(fields["inputs"]), "shape": tuple(fields["shape"])})
            for fields in graph["operations"]
        )
        inputs = {name: tuple(shape) for name, shape in graph["inputs"].items()}
        return cls(inputs, operations, tuple(graph["outputs"]), weights, graph.get("dtypes", {}))
