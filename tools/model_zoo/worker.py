"""One model of gluoncv's zoo: read, extracted, run in MXNet, compiled, run, compared. `tools/zoo.py` starts it.

Its arguments are NAME TARGET LOG. It prints JSON lines, each with more of what became of the model, as soon as that is
known: so something is known of a model whose process is killed, too.
"""

from __future__ import annotations

import json
import os
import re
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tophub_registry.frontends.model import Model
    from tophub_registry.tasks.layers import Layer

INT8, GLUONCV, MXNET, OURS, LIMIT = "int8", "gluoncv", "mxnet", "ours", "limit"
"""Whose reason it is that a model does not compile or is not compared."""

CANT_TRANSLATE = "can't translate "
"""How the reason begins of a model with operators that can't be translated."""

SHOWN = 300
"""How many characters of an error are kept."""

_OPERATOR = re.compile(r'ir\.Op\(.*?name="([^"]+)".*?support_level=\d+\)', re.DOTALL)
"""An operator, as TVM spells it in errors."""

Tell = Callable[..., None]


class Refused(Exception):  # noqa: N818  # it is an outcome
    """A model can't be compiled, or not be compared."""

    def __init__(self, whose: str, why: object) -> None:
        self.whose = whose
        self.why = " ".join(str(why).split())[:SHOWN]
        super().__init__(whose, self.why)


def try_model(name: str, target: str, log: str, tell: Tell) -> None:
    """Do everything that is tried with a model, and tell what is found.

    Raises
    ------
    Refused
        It can't be built, translated, compiled or run.
    """
    from tophub_registry.devices.device import at_hand, check_runs_here, resolve
    from tophub_registry.errors import EnvironmentFailure

    if name.endswith("_int8"):
        raise Refused(INT8, "it is quantised")
    resolved = resolve(target)
    device = at_hand(resolved.kind).device
    tell(stage="read", processor=str(resolved), device=device)
    model = read(name)
    tell(stage="extract")
    extract(model, resolved.kind, tell)
    runs_here = True
    try:
        check_runs_here(resolved)
    except EnvironmentFailure:
        runs_here = False
    inputs = model.random_inputs()
    expected = None
    refused: Refused | None = None
    if runs_here:
        tell(stage="run in MXNet")
        try:
            expected = model.reference(*inputs)
        except Exception as error:  # noqa: BLE001  # MXNet can raise anything
            refused = Refused(MXNET, f"it can't be run: {_reason(error)}")
    tell(stage="compile")
    try:
        compiled = compile_it(model, target, log)
    except Refused as its:
        raise refused or its from its
    tell(compiled=True)
    if refused is not None:
        raise refused
    if expected is not None:
        tell(stage="run")
        with _blame(OURS):
            found = compiled.run(*inputs)
        tell(stage="compare")
        compare(model, inputs, found, expected, tell)


def read(name: str) -> Model:
    """Return a model with random weights."""
    from tophub_registry.errors import EnvironmentFailure, MissingExtra
    from tophub_registry.frontends.mxnet.checkpoint import read_source
    from tophub_registry.frontends.mxnet.translation import translate_source

    try:
        source = read_source(name, batch=1, shapes=None, params=None)
    except MissingExtra:
        raise
    except EnvironmentFailure as error:
        raise Refused(GLUONCV, "it can't be built without downloading weights") from error
    except Exception as error:
        several_inputs = "forward() missing" in str(error.__cause__)
        why = _reason(error).removeprefix(f"gluoncv can't build {name!r}: ")
        raise Refused(OURS if several_inputs else GLUONCV, why) from error
    try:
        return translate_source(source)
    except Exception as error:
        try:
            source.symbol.infer_shape(**source.inputs)
        except Exception as its:
            raise Refused(MXNET, f"it can't infer the shapes: {_reason(its)}") from its
        raise Refused(OURS, f"it can't be read: {_reason(error)}") from error


def extract(model: Model, kind: str, tell: Tell) -> None:
    """Tell a model's tasks, the layers that no template covers, and the operators that can't be translated."""
    from tophub_registry.tasks.rules import workloads
    from tophub_registry.templates.registry import TEMPLATES

    def covered(layer: Layer) -> bool:
        return any(task in TEMPLATES for task, _ in workloads(layer, kind, own=True))

    with _blame(OURS):
        layers = model.layers
        tasks = model.tasks(kind, own=True).tasks
    tell(
        layers=len(layers),
        tasks=len(tasks),
        untuned=Counter(layer.operator for layer in layers if not covered(layer)),
        untranslated={operator: len(names) for operator, names in model.untranslated.items()},
    )


def compile_it(model: Model, target: str, log: str) -> Any:
    """Return the compiled model."""
    from tophub_registry.compiler.compiler import compile_model

    if missing := model.untranslated:
        raise Refused(OURS, CANT_TRANSLATE + ", ".join(missing))
    with _blame(OURS):
        return compile_model(model, target, records=[Path(log)])


def compare(model: Model, inputs: list[Any], found: list[Any], expected: list[Any], tell: Tell) -> None:
    """Tell how far the outputs are from MXNet's, and if far, how far MXNet's own are from almost the same numbers."""
    from . import agreement

    outcome = agreement.compare(found, expected)
    nearly: list[agreement.Agreement] = []
    while not outcome.agrees and len(nearly) < agreement.RUNS:
        seed = len(nearly)
        others = nearby(model, seed).reference(*agreement.disturbed(inputs, seed))
        nearly.append(agreement.compare(others, expected))
        outcome = outcome.beside(nearly)
    tell(**outcome.as_json())
    if not outcome.agrees:
        raise Refused(OURS, f"its outputs differ from MXNet's: {outcome}")


def nearby(model: Model, seed: int) -> Model:
    """Return a model of MXNet with weights that differ by a millionth."""
    from tophub_registry.frontends.mxnet.original import MXNetModel

    from . import agreement

    if not isinstance(model.original, MXNetModel):
        raise TypeError(f"{model.name} is not MXNet's")
    weights = model.original.weights
    others = dict(zip(weights, agreement.disturbed([*weights.values()], seed), strict=True))
    return replace(model, original=replace(model.original, weights=others))


@contextmanager
def _blame(whose: str) -> Iterator[None]:
    """Make any error in a block a reason."""
    try:
        yield
    except Refused:
        raise
    except Exception as error:
        raise Refused(whose, _reason(error)) from error


def _reason(error: Exception) -> str:
    """Return what is wrong; of an error out of C++ its last line, which says it."""
    from tophub_registry.errors import TophubError
    from tophub_registry.frontends.mxnet.libraries import reason_of

    if isinstance(error, TophubError):
        return error.message
    if type(error).__module__.startswith("mxnet"):
        return reason_of(error)
    text = _OPERATOR.sub(r"\1", str(error))
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[-1] if lines else ''}"


def main() -> None:
    """Try one model; standard output has JSON lines only, whatever the libraries print."""
    name, target, log = sys.argv[1:]
    with suppress(OSError):  # if memory runs out, it is this process that goes
        Path("/proc/self/oom_score_adj").write_text("1000", encoding="ascii")
    with os.fdopen(os.dup(1), "w", encoding="utf-8") as lines:
        os.dup2(2, 1)

        def tell(**fields: object) -> None:
            lines.write(json.dumps(fields) + "\n")
            lines.flush()

        try:
            try_model(name, target, log, tell)
        except Refused as refused:
            tell(whose=refused.whose, why=refused.why)
        tell(done=True)


if __name__ == "__main__":
    main()
