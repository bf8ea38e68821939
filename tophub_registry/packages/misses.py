"""Misses: the tasks of layers that were compiled without a record of their own, kept on this machine.

Nothing is kept unless it is switched on, for a root (`Misses.on`) or by `$TOPHUB_MISSES`. Kept are the target, the
task, its arguments and a number; no names of models or layers, no weights, no times. Nothing is sent anywhere.

Processes take turns, so that no count is lost; the file is replaced as a whole, so that a crash leaves the old one.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from filelock import FileLock, Timeout
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from tophub_registry.errors import EnvironmentFailure, InputError, UsageError
from tophub_registry.files import atomic_write
from tophub_registry.records.families import without_general_keys
from tophub_registry.records.record import workload_key
from tophub_registry.records.target import Target
from tophub_registry.records.task import Task, TaskFile

if TYPE_CHECKING:
    from tophub_registry.packages.root import Root

VARIABLE = "TOPHUB_MISSES"
"""`1` or `0`: whether misses are kept, whatever the root says."""

MAX_MISSES = 10_000
"""How many different misses are kept; later ones only count up those that are there."""

_PATIENCE = 30.0
"""Seconds to wait for another process that changes the file."""

_SWITCH = {"1": True, "0": False}


class Miss(BaseModel):
    """A task without a record.

    Attributes
    ----------
    target
        What was compiled for, without general keys such as a family.
    task, args
        The workload, as AutoTVM names it.
    count
        How many layers of compiled models had it; each time a model is compiled counts.
    """

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid")

    target: str
    task: str
    args: list[Any]
    count: Annotated[int, Field(ge=1)]

    @property
    def key(self) -> tuple[str, str]:
        """What distinguishes it from others."""
        return self.target, workload_key(self.task, self.args, {})


class Misses(BaseModel):
    """The content of the file.

    Attributes
    ----------
    schema_version
        1.
    on
        Whether misses are kept.
    misses
        Those so far, in the order in which they first occurred.
    """

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid")

    schema_version: Literal[1] = 1
    on: bool = False
    misses: list[Miss] = []

    def for_target(self, target: str) -> list[Miss]:
        """Return the misses of a target, or of a kind of target, such as `cuda`."""
        wanted = without_general_keys(Target.parse(target))
        parsed = [(miss, Target.parse(miss.target)) for miss in self.misses]
        return [miss for miss, its in parsed if its == wanted or (not wanted.options and its.kind == wanted.kind)]

    def tasks(self, target: str | None = None) -> TaskFile:
        """Return the tasks to tune, those that occurred most often first.

        Parameters
        ----------
        target
            Only those of this target, or of this kind of target. None: all, which must be of one kind.

        Raises
        ------
        UsageError
            There are none, or they are of several kinds, which a task file can't hold.
        """
        found = self.misses if target is None else self.for_target(target)
        kinds = sorted({Target.parse(miss.target).kind for miss in found})
        if not kinds:
            whose = "" if target is None else f" for {target}"
            raise UsageError(f"no misses are kept{whose}", remedy="`tophub misses` lists them")
        if len(kinds) > 1:
            raise UsageError(f"the misses are for {' and '.join(kinds)}", remedy=f"--target {kinds[0]}")
        counts: dict[str, Task] = {}
        for miss in found:
            task = Task(task=miss.task, args=miss.args, count=miss.count)
            known = counts.get(task.workload)
            counts[task.workload] = (
                task if known is None else known.model_copy(update={"count": known.count + task.count})
            )
        tasks = sorted(counts.values(), key=lambda task: -task.count)
        return TaskFile(model="misses", kind=kinds[0], shapes={}, tasks=tasks)


def misses_file(root: Root) -> Path:
    """Return where misses are kept."""
    return root.path / "own" / "misses.json"


def read_misses(root: Root) -> Misses:
    """Read the file; what a file says that does not exist is: off, and none.

    Raises
    ------
    InputError
        It is damaged.
    EnvironmentFailure
        It can't be read.
    """
    path = misses_file(root)
    try:
        return Misses.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        return Misses()
    except OSError as error:
        raise EnvironmentFailure(f"can't be read: {error.strerror or error}", file=path) from error
    except ValidationError as error:
        finding = error.errors(include_url=False, include_context=False)[0]
        place = ".".join(map(str, finding["loc"]))
        raise InputError(
            f"not a file of misses: {place}: {finding['msg']}", file=path, remedy="`tophub misses --clear` empties it"
        ) from error


def are_kept(root: Root, environment: Mapping[str, str] = os.environ) -> bool:
    """Return whether misses are to be kept: as `$TOPHUB_MISSES` says, else as the root's file does.

    Raises
    ------
    UsageError
        The variable is neither 1 nor 0.
    InputError, EnvironmentFailure
        See `read_misses`.
    """
    said = environment.get(VARIABLE, "")
    if not said:
        return read_misses(root).on
    if said not in _SWITCH:
        raise UsageError(f"${VARIABLE} is {said[:80]!r}", remedy="it can be 1 or 0")
    return _SWITCH[said]


def switch(root: Root, *, on: bool) -> Misses:
    """Switch the keeping of misses on or off; those that are kept stay. Raise as `read_misses`."""
    with _changing(root):
        return _write(root, read_misses(root).model_copy(update={"on": on}))


def clear(root: Root) -> Misses:
    """Forget all misses; whether they are kept does not change. A damaged file becomes an empty one, switched off."""
    with _changing(root):
        try:
            on = read_misses(root).on
        except InputError:
            on = False
        return _write(root, Misses(on=on))


def add(root: Root, target: Target, tasks: Iterable[Task]) -> None:
    """Count tasks.

    Raises
    ------
    InputError, EnvironmentFailure
        See `read_misses`; or another process keeps the file locked, or it can't be written.
    """
    name = str(without_general_keys(target))
    new = [Miss(target=name, task=task.task, args=task.args, count=task.count) for task in tasks]
    if not new:
        return
    with _changing(root):
        before = read_misses(root)
        found = {miss.key: miss for miss in before.misses}
        for miss in new:
            if (known := found.get(miss.key)) is not None:
                found[miss.key] = known.model_copy(update={"count": known.count + miss.count})
            elif len(found) < MAX_MISSES:
                found[miss.key] = miss
        _write(root, before.model_copy(update={"misses": [*found.values()]}))


@contextmanager
def _changing(root: Root) -> Iterator[None]:
    path = misses_file(root)
    lock = FileLock(path.with_name(f".{path.name}.lock"), timeout=_PATIENCE)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    except Timeout as error:
        raise EnvironmentFailure("another process keeps this file locked", file=path) from error
    except (OSError, NotImplementedError) as error:
        raise EnvironmentFailure(f"can't be locked: {error}", file=path) from error
    try:
        yield
    finally:
        lock.release()


def _write(root: Root, misses: Misses) -> Misses:
    with atomic_write(misses_file(root), overwrite=True) as stream:
        stream.write(misses.model_dump_json(indent=1).encode() + b"\n")
    return misses
