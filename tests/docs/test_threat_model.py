"""The threat model names tests that exist."""

from __future__ import annotations

import re

from tests.docs.blocks import ROOT

PAGE = ROOT / "docs" / "threat-model.md"


def test_every_test_that_it_names_with_its_file_exists():
    files: dict[str, str] = {}
    for path in (ROOT / "tests").rglob("test_*.py"):
        files[path.name] = files.get(path.name, "") + path.read_text(encoding="utf-8")
    named = re.findall(r"`(?:[a-z]+/)*(test_\w+\.py)::([\w:]+)`", PAGE.read_text(encoding="utf-8"))
    assert len(named) > 40
    for file, names in named:
        for name in names.split("::"):
            assert re.search(rf"(?m)^ *(def|class) {name}\b", files[file]), (file, name)


def test_every_test_that_it_names_exists():
    known = {
        name
        for path in (ROOT / "tests").rglob("test_*.py")
        for name in re.findall(r"(?m)^ *def (test_\w+)\(", path.read_text(encoding="utf-8"))
    }
    named = re.findall(r"`(test_\w+)(…?)`", PAGE.read_text(encoding="utf-8"))
    assert len(named) > 30
    for name, more in named:
        assert name in known or (more and any(each.startswith(name) for each in known)), name
