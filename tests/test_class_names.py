"""One name for one thing: no two public classes of the package are called the same."""

from __future__ import annotations

import ast
from collections import defaultdict
from pathlib import Path

import tophub_registry

PACKAGE = Path(tophub_registry.__file__).parent

ALLOWED = {"Layer", "Source"}
"""Names that still have a second meaning in `frontends`."""


def public_classes() -> dict[str, list[str]]:
    """Return the modules that define each public class of the package."""
    found: defaultdict[str, list[str]] = defaultdict(list)
    for path in sorted(PACKAGE.rglob("*.py")):
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                found[node.name].append(str(path.relative_to(PACKAGE)))
    return found


def test_public_class_names_are_unique() -> None:
    found = public_classes()
    assert len(found) > 100
    repeated = {name: modules for name, modules in found.items() if len(modules) > 1}
    assert {name: modules for name, modules in repeated.items() if name not in ALLOWED} == {}
