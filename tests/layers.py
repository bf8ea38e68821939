"""The order of the subpackages, as import-linter has it, and which of them a piece of work runs through."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

    import grimp

PACKAGE = "tophub_registry"
PYPROJECT = Path(__file__).parents[1] / "pyproject.toml"

BELOW_ALL = {"", "_version"}
"""The package itself, which imports lazily, and its version: no layers of their own."""


def layers() -> dict[str, int]:
    """Return the height of each subpackage, from pyproject.toml; the lowest has 0."""
    toml = pytest.importorskip("tomllib" if sys.version_info >= (3, 11) else "tomli")
    contracts = toml.loads(PYPROJECT.read_text(encoding="utf-8"))["tool"]["importlinter"]["contracts"]
    (contract,) = [contract for contract in contracts if contract["type"] == "layers"]
    heights = enumerate(reversed(contract["layers"]))
    return {name.strip(): height for height, names in heights for name in names.split("|")}


def subpackage_of(module: str) -> str:
    """Return the subpackage or top module that a module is in: `records` for `tophub_registry.records.log`."""
    return module.removeprefix(PACKAGE).lstrip(".").partition(".")[0]


def upward_imports(graph: grimp.ImportGraph, heights: dict[str, int]) -> list[tuple[str, str]]:
    """Return the imports of a subpackage by one that is below it or beside it; lazy ones count too."""
    found = []
    for importer in sorted(graph.modules):
        for imported in sorted(graph.find_modules_directly_imported_by(importer)):
            one, other = subpackage_of(importer), subpackage_of(imported)
            if one != other and not {one, other} & BELOW_ALL and heights[other] >= heights[one]:
                found.append((importer, imported))
    return found


@contextmanager
def modules_used() -> Iterator[set[str]]:
    """Collect the modules of the package whose functions run in this thread, other than while it is imported."""
    used: set[str] = set()

    def note(frame: Any, event: str, _: object) -> None:
        if event == "call" and frame.f_code.co_name != "<module>":
            name = frame.f_globals.get("__name__", "")
            if name == PACKAGE or name.startswith(f"{PACKAGE}."):
                used.add(name)

    before = sys.getprofile()
    sys.setprofile(note)
    try:
        yield used
    finally:
        sys.setprofile(before)


def above(modules: Iterable[str], subpackage: str, heights: dict[str, int]) -> list[str]:
    """Return the modules that are above a subpackage, or beside it."""
    return sorted(
        module
        for module in modules
        if (name := subpackage_of(module)) not in BELOW_ALL | {subpackage} and heights[name] >= heights[subpackage]
    )


def walk(subpackage: str, step: Callable[[], Any]) -> Any:
    """Take a step of a way in a subpackage, and return its result; fail where it comes by a subpackage above."""
    with modules_used() as used:
        result = step()
    assert any(subpackage_of(module) == subpackage for module in used), f"the step does nothing in {subpackage}"
    wrong = above(used, subpackage, layers())
    assert not wrong, f"the step in {subpackage} comes by {', '.join(wrong)}"
    return result
