"""All checks, in the order in which they are shown."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from tophub_registry.doctor import machine, registry, software, variables
from tophub_registry.doctor.asking import Answers, Asking
from tophub_registry.doctor.check import Check, run

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from tophub_registry.packages.root import Root


def examine(location: str | None, root: Root, *, progress: Callable[[str], None] = lambda _: None) -> tuple[Check, ...]:
    """Check everything; nothing is changed, and no check can stop another.

    Parameters
    ----------
    location
        The location's name; None means the one in the environment, or the builtin one.
    root
        Where packages are kept.
    progress
        Called with what is being checked.
    """
    asking = _start()
    place = registry.Registry(location, root)
    said: list[Check] = []

    def check(topic: str, what: Callable[[], Iterable[Check]]) -> None:
        progress(topic)
        said.extend(run(topic, what))

    check("python", software.python)
    check("root", partial(registry.root, root))
    check("files", partial(registry.hashes, root))
    check("own", partial(registry.own, root))
    check("location", place.check)
    check("remembered", partial(registry.remembered, root))
    check("lock", lambda: registry.lock(root, Path.cwd()))
    check("variables", variables.variables)
    check("numpy", software.numpy)
    check("xgboost", software.cost_models)
    check("frameworks", software.frameworks)
    check("extras", software.extras)
    check("threads", machine.threads)
    progress("tvm")
    answers = asking.answers() if isinstance(asking, Asking) else asking
    check("tvm", lambda: software.tvm(answers))
    check("compiler", lambda: machine.compiler(needed=answers is not None))
    check("processor", lambda: machine.processor(answers, place.index))
    check("gpu", lambda: machine.gpu(answers, place.index))
    return tuple(said)


def _start() -> Asking | Answers | None:
    """Start to ask TVM; None if it is not installed."""
    if not software.is_there("tvm"):
        return None
    try:
        return Asking()
    except OSError as error:
        return Answers(end=f"can't be tried: {error}", unfinished="import tvm")
