"""The blocks of code on a page of the documentation, and the reasons why some of them can't run in the tests."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[2]

PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]

RUN = {"bash", "python"}
SHOWN = {"text", "json", "toml"}
"""The languages of blocks that run, and of those that are only shown."""

_NOT_RUN, _ELSEWHERE = "*Not run by the tests:", "*Run by `"


class Block(NamedTuple):
    """A block of code.

    Attributes
    ----------
    page
        The file's name.
    line
        The line of the fence, counted from 1.
    language
        What stands behind the fence.
    code
        The lines between the fences.
    reason
        Why it can't run, as the paragraph before it says; empty if it runs.
    elsewhere
        Whether other tests run it, as that paragraph says.
    """

    page: str
    line: int
    language: str
    code: str
    reason: str
    elsewhere: bool

    @property
    def runs(self) -> bool:
        return self.language in RUN and not (self.reason or self.elsewhere)


def blocks_of(page: Path) -> Iterator[Block]:
    """Yield a page's blocks in order."""
    lines = page.read_text(encoding="utf-8").splitlines()
    start = None
    for number, line in enumerate(lines):
        if not line.lstrip().startswith("```"):
            continue
        if start is None:
            start = number
            continue
        reason = _paragraph_before(lines, start)
        said = reason.removeprefix(_NOT_RUN).removesuffix("*").strip() if reason.startswith(_NOT_RUN) else ""
        language = lines[start].strip().removeprefix("```")
        code = "\n".join(lines[start + 1 : number])
        yield Block(page.name, start + 1, language, code, said, reason.startswith(_ELSEWHERE))
        start = None


def _paragraph_before(lines: list[str], end: int) -> str:
    while end and not lines[end - 1].strip():
        end -= 1
    start = end
    while start and lines[start - 1].strip():
        start -= 1
    return " ".join(lines[start:end])


def commands(code: str) -> list[str]:
    """Return the commands of a `bash` block, without comments."""
    joined = code.replace("\\\n", " ")
    return [each for line in joined.splitlines() if (each := re.sub(r"(^|\s)#.*$", "", line).strip())]
