"""The reference pages are made from the code, and leave nothing out."""

from __future__ import annotations

import ast
import re

import pytest

import tophub_registry as tophub
from tools import reference
from tophub_registry.cli import COMMANDS
from tophub_registry.proof.validation import RULES


def test_every_command_with_all_its_options():
    page = reference.command_line()
    assert re.findall(r"(?m)^## `tophub ([\w]+)`", page) == [*COMMANDS]
    for name in COMMANDS:
        section = page.partition(f"\n## `tophub {name}`")[2].partition("\n## ")[0]
        assert "| `--json` | " in section, f"{name} has no --json"
    tune = page.partition("## `tophub tune`")[2].partition("\n## ")[0]
    assert "tophub tune MODEL --output OUTPUT [OPTIONS]" in tune
    assert "| `-o`, `--output` `OUTPUT` | The log to write" in tune
    assert "--own-templates" not in tune, "hidden options stay hidden"
    assert "Default: 8; 32 on a GPU." in tune


def test_everything_public_with_its_docstring():
    pytest.importorskip("tvm")
    page = reference.python()
    names = {name for name in tophub.__all__ if not name.startswith("_")}
    assert set(re.findall(r"(?m)^### `tophub\.(\w+)`", page)) == names
    assert "    records: Records | None = None,\n" in page
    assert "- `.run()`: " in page.partition("### `tophub.CompiledModel`")[2].partition("###")[0]


def test_every_rule_that_a_finding_can_have():
    page = reference.findings()
    assert re.findall(r"(?m)^\| `([\w-]+)` \| ", page) == [*RULES]
    used = {call.args[0].value for call in reference._calls("Finding") if isinstance(call.args[0], ast.Constant)}
    assert used - {"unchecked"} <= RULES.keys()
    assert "| `failed` | release | error | the record of a failed measurement | `tophub merge` drops it |" in page
    assert "| `cached` | replay | warning | " in page


@pytest.mark.slow
def test_errors_with_their_remedies_by_exit_code():
    page = reference.messages()
    assert re.findall(r"(?m)^## (\d)", page) == ["1", "2", "3"]
    assert "| no such file, and no such package on this machine | run `tophub fetch …` |" in page
    assert "| the library already exists | --force overwrites it |" in page


def test_docstrings_become_markdown():
    text = "Do it.\n\nParameters\n----------\nname, other\n    Their meaning.\n\nExamples\n--------\n>>> 1 + 1\n2"
    made = reference.docstring(text)
    assert "\n**Parameters**\n\n- `name, other`:\n    Their meaning.\n" in made
    assert made.endswith("\n**Examples**\n\n```pycon\n>>> 1 + 1\n2\n```")
