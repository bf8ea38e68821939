"""Every command and every Python example of the documentation and the README runs, or says why it can't."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.conftest import some
from tests.docs.blocks import PAGES, ROOT, RUN, SHOWN, blocks_of, commands
from tools import reference
from tophub_registry.cli import COMMANDS

BLOCKS = [block for page in PAGES for block in blocks_of(page)]
NOT_RUN = 3
"""How many blocks can't run here; each says why. Change this number only with a good reason."""

RUNNABLE = sorted({block.page for block in BLOCKS if block.runs})
ALWAYS = ["README.md", "tutorial.md"]
CHOSEN = [*ALWAYS, *some([page for page in RUNNABLE if page not in ALWAYS], 2)]

OPTION = re.compile(r"(?<![\w-])--[a-z][a-z-]+")


def published() -> dict[str, int]:
    """Return when the files of this repository's own registry were changed."""
    return {path.name: path.stat().st_mtime_ns for path in (ROOT / "registry_data").glob("[a-z]*")}


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory):
    """What became of the pages' blocks: all of them run in one process, in a home of their own."""
    for module in ("tvm", "onnxruntime", "mxnet", "plotly"):
        if find_spec(module) is None:
            pytest.skip(f"needs {module}")
    command = [sys.executable, "-m", "tests.docs.run", str(tmp_path_factory.mktemp("docs")), *CHOSEN]
    before = published()
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT, timeout=600)
    assert done.returncode == 0, done.stderr
    assert published() == before, "a page has changed this repository's own registry"
    return {each["page"]: each for each in map(json.loads, done.stdout.splitlines())}


@pytest.mark.parametrize("page", CHOSEN)
def test_what_a_page_says_works(outcomes, page):
    assert outcomes[page]["error"] == ""


def test_what_is_not_run_says_why():
    skipped = [
        f"{block.page}:{block.line}: {block.reason}" for block in BLOCKS if block.language in RUN and block.reason
    ]
    assert len(skipped) == NOT_RUN, "\n".join(skipped)
    assert sum(block.runs for block in BLOCKS) > 15 * NOT_RUN


def test_no_command_hides_in_a_block_that_is_only_shown():
    for block in BLOCKS:
        assert block.language in RUN | SHOWN, f"{block.page}:{block.line} has no language"
        if block.language in SHOWN:
            assert not re.search(r"(?m)^(\$ )?(tophub|python|pip) ", block.code), f"{block.page}:{block.line}"


def test_what_is_only_mentioned_exists_too():
    """Commands in running text, and in blocks that are not run: their names and options."""
    known = options()
    for page in PAGES:
        text = prose(page)
        said = re.findall(r"`(tophub [^`]+)`", text)
        said += [each for block in blocks_of(page) if block.language == "bash" for each in commands(block.code)]
        for command in said:
            words = command.split()
            if words[0] != "tophub" or words[1] in {"COMMAND", "--help", "--install-completion", "--show-completion"}:
                continue
            assert words[1] in COMMANDS, (page.name, command)
            unknown = set(OPTION.findall(command)) - known[words[1]] - {"--help"}
            assert not unknown, (page.name, command)


def prose(page: Path) -> str:
    """Return a page without its blocks."""
    return re.sub(r"(?s)```.*?```", "", page.read_text(encoding="utf-8"))


def options() -> dict[str, set[str]]:
    """Return each command's options, from the reference."""
    sections = reference.command_line().split("\n## `tophub ")[1:]
    rows = {section.partition("`")[0]: re.findall(r"(?m)^\| (`.*?`) ", section) for section in sections}
    return {command: {option for row in its for option in OPTION.findall(row)} for command, its in rows.items()}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page):
    for link in re.findall(r"\]\(([^)]+)\)", prose(page)):
        path, _, anchor = link.partition("#")
        if "://" in path:
            continue
        target = page if not path else page.parent / path
        assert target.is_file(), link
        if anchor:
            titles = re.findall(r"(?m)^#+ (.*)$", target.read_text(encoding="utf-8"))
            assert anchor in {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles}, link


def test_versions_are_the_newest(registry):
    for page in PAGES:
        for package, version in re.findall(
            r'PACKAGE_VERSION\["(\w+)"\] = "(v[\d.]+)"', page.read_text(encoding="utf-8")
        ):
            assert version == max(registry.glob(f"{package}_v*.log")).stem.removeprefix(f"{package}_"), page.name


def test_the_readme_is_short():
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) <= 150


def test_every_page_is_in_the_site():
    nav = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    for page in (ROOT / "docs").glob("*.md"):
        assert f": {page.name}\n" in nav, page.name
    for name in reference.PAGES:
        assert f"reference/{name}.md" in nav


def test_every_schema_and_example_file_is_named_as_it_is():
    for name in re.findall(r"`((?:tests|tools|schemas|benchmarks)/[\w./]+)`", "".join(map(Path.read_text, PAGES))):
        assert (ROOT / name).exists(), name


def test_the_citation_has_the_version_of_the_library():
    from tophub_registry import __version__

    assert f"\nversion: {__version__}\n" in (ROOT / "CITATION.cff").read_text(encoding="utf-8")
