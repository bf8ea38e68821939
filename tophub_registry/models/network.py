"""A network read from gluoncv or from an MXNet symbol file: its layers, with their shapes, and their tasks.

What touches MXNet stands here; which task a layer has is decided in `rules`, without it.
"""

from __future__ import annotations

import difflib
import json
import re
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import Any

from tophub_registry.errors import EnvironmentFailure, InputError, UsageError
from tophub_registry.models import libraries
from tophub_registry.models.inputs import default_shape
from tophub_registry.models.layers import Layer, Other, Shape
from tophub_registry.models.operators import OPERATORS, UNTUNED, Attributes
from tophub_registry.models.rules import rules_for, workloads
from tophub_registry.records.record import workload_key
from tophub_registry.records.task import Task, TaskFile


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
    symbol = _load(Path(model)) if is_file else _from_zoo(str(model))
    name = str(model) if is_file else str(model).lower()
    chosen = {key: tuple(shape) for key, shape in (shapes or {}).items()}
    inputs = chosen or {"data": default_shape(name, batch)}
    return Network(name, inputs, tuple(_layers(symbol, inputs, file=name if is_file else None)))


def _from_zoo(name: str) -> Any:
    """Return the symbol of a gluoncv model."""
    mx, cv = libraries.mxnet(), libraries.gluoncv()
    known = list(cv.model_zoo.get_model_list())
    if name.lower() not in known:
        close = difflib.get_close_matches(name.lower(), known, 3)
        raise UsageError(
            f"gluoncv has no model {name!r}",
            remedy=f"did you mean {' or '.join(close)}?" if close else "a symbol file's name ends in .json",
        )
    if name.lower().endswith("_int8"):
        raise UsageError(f"{name!r} is quantised", remedy="only models in float32 have tasks")
    # Without a name manager of their own, layers are numbered on from what was built before in this process.
    with mx.name.NameManager(), _quiet():
        try:
            network = _build(cv, name)
            return mx.sym.Group(list(_flat(network(mx.sym.var("data")))))
        except OSError as error:
            raise EnvironmentFailure(
                f"gluoncv builds {name!r} only with weights that it failed to download: {_reason(error)}"
            ) from error
        except Exception as error:
            raise UsageError(f"gluoncv can't build {name!r}: {_reason(error)}") from error


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep MXNet and gluoncv from printing: our output may be read by a program."""
    with warnings.catch_warnings(), redirect_stdout(StringIO()):
        warnings.simplefilter("ignore")
        yield


def _build(cv: Any, name: str) -> Any:
    """Instantiate a model without downloading any weights; for a detector, those of its base are a second matter."""
    try:
        return cv.model_zoo.get_model(name, pretrained=False, pretrained_base=False)
    except (TypeError, Warning):  # a model without a base does not take the argument; one raises a Warning
        return cv.model_zoo.get_model(name, pretrained=False)


def _flat(outputs: Any) -> Iterator[Any]:
    """Yield the symbols in nested lists and dicts of them."""
    if isinstance(outputs, dict):
        outputs = list(outputs.values())
    if isinstance(outputs, (list, tuple)):
        for output in outputs:
            yield from _flat(output)
    else:
        yield outputs


def _load(path: Path) -> Any:
    """Load a symbol file."""
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
        raise InputError(f"not a JSON file: {error}", file=path) from error
    if not isinstance(graph, dict) or not isinstance(graph.get("nodes"), list):
        raise InputError("not an MXNet symbol file: it has no nodes", file=path)
    try:
        return mx.sym.load_json(text.decode())
    except (mx.base.MXNetError, ValueError) as error:
        raise InputError(f"not an MXNet symbol file: {_reason(error)}", file=path) from error


def _layers(symbol: Any, inputs: Mapping[str, Shape], *, file: str | None) -> Iterator[Layer]:
    """Yield the layers of a symbol that cost arithmetic, in the order in which they are computed."""
    graph = json.loads(symbol.tojson())
    _check_inputs(graph["nodes"], inputs, file=file)
    shape_of = _infer_shapes(graph, inputs, file=file)
    for node in graph["nodes"]:
        name, operator = node["name"], node["op"]
        if operator in OPERATORS:
            data, weight = (shape_of(entry) for entry in node["inputs"][:2])
            yield OPERATORS[operator](name, Attributes(node.get("attrs", {})), data, weight) or Other(name, operator)
        elif operator in UNTUNED:
            yield Other(name, operator)


def _check_inputs(nodes: Sequence[Mapping[str, Any]], inputs: Mapping[str, Shape], *, file: str | None) -> None:
    """Raise a UsageError where the network has no input of a name, or a shape is none."""
    names = {node["name"] for node in nodes if node["op"] == "null"}
    for name, shape in inputs.items():
        if name not in names:
            free = ", ".join(_free_inputs(nodes)[:5])
            raise UsageError(f"the network has no input {name!r}", file=file, remedy=f"its inputs: {free}")
        if not shape or min(shape) < 1:
            raise UsageError(f"the input {name!r} can't have the shape {_spell(shape)}", file=file)


def _infer_shapes(
    graph: Mapping[str, Any], inputs: Mapping[str, Shape], *, file: str | None
) -> Callable[[Sequence[int]], Shape]:
    """Return a function that gives the shape of an entry of the graph, `[node, output, version]`."""
    nodes = graph["nodes"]
    # MXNet tells inner shapes by name only, and a block that is called twice gives two nodes one name.
    renamed = [node if node["op"] == "null" else {**node, "name": f"#{i}"} for i, node in enumerate(nodes)]
    internals = libraries.mxnet().sym.load_json(json.dumps({**graph, "nodes": renamed})).get_internals()
    spelled = " ".join(f"{name}={_spell(shape)}" for name, shape in inputs.items())
    with _quiet():
        try:
            _, shapes, _ = internals.infer_shape(**inputs)
        except Exception as error:  # MXNet raises several kinds, this one among them
            reason = re.sub(r"#(\d+)", lambda match: str(nodes[int(match[1])]["name"]), _reason(error))
            raise UsageError(
                f"{spelled} does not fit the network: {reason}", file=file, remedy="give other shapes"
            ) from error
    if shapes is None:
        free = ", ".join(_free_inputs(nodes)[:5])
        raise UsageError(f"{spelled} leaves shapes open", file=file, remedy=f"give more of the inputs {free}")
    number = {node["name"]: i for i, node in enumerate(nodes) if node["op"] == "null"}
    outputs: dict[int, list[Shape]] = {}
    for name, shape in zip(internals.list_outputs(), shapes, strict=True):
        match = re.match(r"#(\d+)_", name)
        outputs.setdefault(int(match[1]) if match else number[name], []).append(tuple(shape))

    def shape_of(entry: Sequence[int]) -> Shape:
        node, output = entry[:2]
        try:
            return outputs[node][output]
        except IndexError:
            raise InputError(f"the node {nodes[node]['name']!r} has no output {output}", file=file) from None

    return shape_of


def _free_inputs(nodes: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return the variables that some operator takes as its first argument, where weights never stand."""
    first = {node["inputs"][0][0] for node in nodes if node["inputs"]}
    return [node["name"] for i, node in enumerate(nodes) if node["op"] == "null" and i in first]


def _spell(shape: Shape) -> str:
    return ",".join(map(str, shape))


def _reason(error: Exception) -> str:
    """Return what an error of MXNet says, without stack traces and places in its source."""
    lines = [line.strip() for line in str(error).splitlines()]
    said = [line for line in lines if line.startswith(("MXNetError:", "JSONReader:"))] or [*filter(None, lines), ""]
    text = re.sub(r"\[\d\d:\d\d:\d\d\] \S+:\d+: |^\w+: ", "", said[0])
    return text[:300] or type(error).__name__
