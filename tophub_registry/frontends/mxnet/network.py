"""A network read from gluoncv or from an MXNet symbol file: its layers, with their shapes, and their tasks.

What MXNet is asked for stands in `symbol` and `shapes`; which task a layer has is decided in `rules`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tophub_registry.frontends.mxnet.inputs import default_shape
from tophub_registry.frontends.mxnet.operators import OPERATORS, UNTUNED, Attributes
from tophub_registry.frontends.mxnet.shapes import infer_shapes
from tophub_registry.frontends.mxnet.symbol import load_symbol, zoo_symbol
from tophub_registry.records.record import workload_key
from tophub_registry.records.task import Task, TaskFile
from tophub_registry.tasks.layers import Layer, Other, Shape
from tophub_registry.tasks.rules import is_own, rules_for, workloads


@dataclass(frozen=True)
class Network:
    """A network with the shapes of its inputs.

    Attributes
    ----------
    name
        The model's name, or the symbol file it was read from.
    inputs
        The inputs' shapes, by name.
    layers
        The layers that cost arithmetic, in the order in which they are computed.
    """

    name: str
    inputs: Mapping[str, Shape]
    layers: tuple[Layer, ...]

    def tasks(self, kind: str, *, own: bool = False) -> TaskFile:
        """Return the tuning tasks for a kind of target: each distinct workload once, in the order of its first layer.

        AutoTVM's come first, then our own.

        Parameters
        ----------
        own
            Whether to list the tasks of templates that AutoTVM does not have too.

        Raises
        ------
        UsageError
            There are no templates for this kind of target.
        """
        rules_for(kind)
        found: dict[str, tuple[str, list[Any], list[str]]] = {}
        for layer in self.layers:
            for template, arguments in workloads(layer, kind, own=own):
                key = workload_key(template, arguments, {})
                found.setdefault(key, (template, arguments, []))[2].append(layer.name)
        tasks = [
            Task(task=template, args=arguments, count=len(layers), layers=layers)
            for template, arguments, layers in found.values()
        ]
        tasks.sort(key=lambda task: is_own(task.task))
        shapes = {name: list(shape) for name, shape in self.inputs.items()}
        return TaskFile(model=self.name, kind=kind, shapes=shapes, tasks=tasks)

    def untuned(self, kind: str) -> list[Layer]:
        """Return the layers that no template serves on this kind of target; they cost time that tuning can't save."""
        return [layer for layer in self.layers if not workloads(layer, kind)]


def read_network(model: str | Path, *, batch: int = 1, shapes: Mapping[str, Sequence[int]] | None = None) -> Network:
    """Read a gluoncv model, without its weights, or an MXNet symbol file.

    Parameters
    ----------
    model
        A name that `gluoncv.model_zoo.get_model` knows, or the path of a symbol file, which ends in `.json`.
    batch
        The batch size of the model's usual input.
    shapes
        The inputs' shapes by name, batch included, instead of the usual input.

    Raises
    ------
    UsageError
        There is no such model, gluoncv can't build it, or the shapes do not fit it.
    InputError
        The symbol file is missing or is none.
    EnvironmentFailure
        gluoncv downloads weights even for an untrained model of this name, and failed to.
    MissingExtra
        MXNet or gluoncv is not installed.
    """
    is_file = isinstance(model, Path) or model.endswith(".json")
    symbol = load_symbol(Path(model)) if is_file else zoo_symbol(str(model))
    name = str(model) if is_file else str(model).lower()
    chosen = {key: tuple(shape) for key, shape in (shapes or {}).items()}
    inputs = chosen or {"data": default_shape(name, batch)}
    return Network(name, inputs, tuple(_layers(symbol, inputs, file=name if is_file else None)))


def _layers(symbol: Any, inputs: Mapping[str, Shape], *, file: str | None) -> Iterator[Layer]:
    """Yield the layers of a symbol that cost arithmetic, in the order in which they are computed."""
    graph = json.loads(symbol.tojson())
    shape_of = infer_shapes(graph, inputs, file=file)
    for node in graph["nodes"]:
        name, operator = node["name"], node["op"]
        if operator in OPERATORS:
            data, weight = (shape_of(entry) for entry in node["inputs"][:2])
            yield OPERATORS[operator](name, Attributes(node.get("attrs", {})), data, weight) or Other(name, operator)
        elif operator in UNTUNED:
            yield Other(name, operator)
