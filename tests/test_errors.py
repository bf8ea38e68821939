"""An error is one printable line, whatever stands in the file that it quotes."""

from __future__ import annotations

import pytest

from tophub_registry.errors import LONGEST, InputError, TophubError, one_line
from tophub_registry.records.finding import Finding

HOSTILE = ["\x1b[2J", "\0", "\x85", "\u2028", "\ud800", "\u202e", "a\nb", "a\r\n  b", "\ufeff"]


@pytest.mark.parametrize("text", HOSTILE)
def test_errors_and_findings_are_printable(text: str) -> None:
    error = InputError(f"not a task: {text}", file=f"x{text}.log", line=1, remedy=f"try {text}")
    for said in (str(error), error.message, error.remedy, Finding("row", f"not a task: {text}").message):
        assert said.isprintable()
        said.encode()


@pytest.mark.parametrize(
    ("text", "said"),
    [("a\n  b", "a b"), ("a\r\n\r\nb\n", "a b"), ("a  b", "a  b"), ("\x1b[2J", "\\x1b[2J"), ("é ٣ 漢", "é ٣ 漢")],
)
def test_line_breaks_become_spaces_and_controls_are_spelled_out(text: str, said: str) -> None:
    assert one_line(text) == said


def test_what_an_error_quotes_is_bounded() -> None:
    error = TophubError("x" * 100_000, remedy="y" * 100_000)
    assert len(str(error)) < 2 * LONGEST + 10
