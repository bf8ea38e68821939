"""Tasks: a workload to tune, how often a model needs it, and the file with a model's tasks.

With `tasks.json`, a model's tasks can be extracted on one machine and tuned on another, which has the device.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError, model_validator

from tophub_registry.errors import InputError
from tophub_registry.files import atomic_write
from tophub_registry.records.arguments import ArgumentError, named, shown, take
from tophub_registry.records.record import finite, workload_key


def tensor(shape: tuple[int, ...] | list[int], dtype: str = "float32") -> list[Any]:
    """Return a tensor as task arguments spell it: `["TENSOR", shape, dtype]`."""
    return ["TENSOR", list(shape), dtype]


_SHOWN = 120


class Task(BaseModel):
    """A workload and its place in a model.

    Attributes
    ----------
    task, args, kwargs
        The workload, as AutoTVM names it.
    count
        How many layers of the model have it.
    layers
        The names of those layers, in the model's order.
    """

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid")

    task: str
    args: list[Any]
    kwargs: dict[str, Any] = {}
    count: int = 1
    layers: list[str] = []

    @model_validator(mode="after")
    def _check_numbers(self) -> Task:
        if not finite([self.args, self.kwargs]):
            raise ValueError("NaN and Infinity are not JSON numbers")
        return self

    @property
    def workload(self) -> str:
        """The key by which records of this task are found."""
        return workload_key(self.task, self.args, self.kwargs)

    def __str__(self) -> str:
        """Name the task for people."""
        return describe(self.task, self.args)


def describe(task: str, args: list[Any]) -> str:
    """Name a workload for people: `conv2d_NCHWc.x86 1x64x56x56 128x64x3x3 /2` (strides after the slash).

    What else may differ is named if it is unusual: a padding other than half the kernel (`pad 0`), a dilation
    (`dilated 2`). For tasks with unknown arguments, all arguments are given.
    """
    try:
        values = take("data kernel", args) | named(task, args)
        shapes = [take("data", [argument])["data"][1] for argument in args if _is_tensor(argument)]
    except ArgumentError:
        values, shapes = {}, []
    if "kernel" not in values:
        return " ".join([task, *([shown(args, _SHOWN)] if args else [])])
    said = [task, *("x".join(map(str, shape)) for shape in shapes)]
    if set(strides := values.get("strides", [1, 1])) != {1}:
        said.append(f"/{_short(strides)}")
    taps = slice(0, len(strides)) if "nhwc" in task else slice(2, 2 + len(strides))
    usual = [size // 2 for size in values["kernel"][1][taps]] * 2
    if (padding := values.get("padding", usual)) != usual:
        said.append(f"pad {_short(padding)}")
    if set(dilation := values.get("dilation", [1, 1])) != {1}:
        said.append(f"dilated {_short(dilation)}")
    return " ".join(said)


def _short(numbers: list[int]) -> str:
    """Write strides, padding or dilation without repeating what is the same in all directions."""
    half = len(numbers) // 2
    if len(set(numbers)) == 1:
        numbers = numbers[:1]
    elif numbers[:half] == numbers[half:]:
        numbers = numbers[:half]
    return ",".join(map(str, numbers))


def _is_tensor(argument: Any) -> bool:
    return isinstance(argument, list) and argument[:1] == ["TENSOR"]


class TaskFile(BaseModel):
    """The content of `tasks.json`.

    Attributes
    ----------
    schema_version
        1.
    model
        The model's name, or the symbol file it was read from.
    kind
        The kind of target that the tasks are for, `llvm` or `cuda`, which decides a layer's templates.
    shapes
        The inputs' shapes, by name.
    tasks
        Each distinct workload once, in the order of its first layer.
    untranslated
        The operators that `tophub compile` can't translate, and the layers that use them. A model with any can't be
        compiled; the key is left out of the file if there are none.
    """

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid")

    schema_version: Literal[1] = 1
    model: str
    kind: str
    shapes: dict[str, list[int]]
    tasks: list[Task]
    untranslated: dict[str, list[str]] = {}

    @staticmethod
    def read(path: str | Path) -> TaskFile:
        """Read `tasks.json`; InputError if the file is missing or invalid."""
        try:
            return TaskFile.model_validate_json(Path(path).read_bytes())
        except FileNotFoundError as error:
            raise InputError("no such file", file=path) from error
        except OSError as error:
            raise InputError(f"can't be read: {error.strerror}", file=path) from error
        except ValidationError as error:
            finding = error.errors(include_url=False)[0]
            place = ".".join(map(str, finding["loc"]))
            raise InputError(
                f"not a task file: {place}: {finding['msg']}", file=path, remedy="make one with `tophub extract`"
            ) from error

    def write(self, path: str | Path, *, overwrite: bool = False) -> None:
        """Write `tasks.json`, all or nothing."""
        with atomic_write(path, overwrite=overwrite) as stream:
            stream.write(self.as_json().encode())

    def as_json(self) -> str:
        """Return the content of the file."""
        fields = self.model_dump(exclude=None if self.untranslated else {"untranslated"})
        return json.dumps(fields, indent=1) + "\n"
