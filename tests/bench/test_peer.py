"""A framework's process may end, or say anything: the measuring one has one clear error for each."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tophub_registry.bench.peer import Peer
from tophub_registry.errors import EnvironmentFailure

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

ANSWER = r'{"version": "1.9.1", "note": "MKLDNN"}'


def loaded(
    tmp_path: Path, script: str, limit: float = 60.0, settings: Mapping[str, str] | None = None
) -> tuple[str, str]:
    """Load a model in a process that does what a shell's script says."""
    python = tmp_path / "python"
    python.write_text(f"#!/bin/sh\n{script}\n", encoding="utf-8")
    python.chmod(0o755)
    peer = Peer("mxnet", tmp_path, 1, str(python), settings)
    try:
        return peer.load(limit)
    finally:
        peer.close()


def test_a_whole_line_is_an_answer(tmp_path: Path) -> None:
    assert loaded(tmp_path, f"echo '{ANSWER}'") == ("1.9.1", "MKLDNN")


def test_settings_are_its_environment(tmp_path: Path) -> None:
    answer = r'echo "{\"version\": \"$ONEDNN_MAX_CPU_ISA\", \"note\": \"$OMP_NUM_THREADS\"}"'
    assert loaded(tmp_path, answer, settings={"ONEDNN_MAX_CPU_ISA": "AVX2"}) == ("AVX2", "1")


@pytest.mark.parametrize(
    ("script", "message"),
    [
        (f"printf '%s' '{ANSWER[:20]}'; kill -KILL $$", "mxnet ended: exit code -9"),
        (f"printf '%s' '{ANSWER}'; kill -KILL $$", "mxnet ended: exit code -9"),
        ("echo 'no such operator' >&2; exit 1", "mxnet ended: no such operator"),
        ("echo Loading libmkl", "mxnet gave an invalid answer: 'Loading libmkl"),
        ('echo \'{"failure": "has no such operator"}\'', "has no such operator"),
    ],
    ids=["part of a line", "a line without its end", "an error", "no JSON", "a failure"],
)
def test_anything_else_is_one_error(tmp_path: Path, script: str, message: str) -> None:
    with pytest.raises(EnvironmentFailure) as caught:
        loaded(tmp_path, script)
    assert message in str(caught.value)


def test_who_does_not_answer_is_ended(tmp_path: Path) -> None:
    with pytest.raises(EnvironmentFailure, match="mxnet ended: no answer in 0 s"):
        loaded(tmp_path, "exec sleep 60", limit=0.2)
