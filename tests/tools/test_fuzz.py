"""`tools/fuzz`: each harness finds nothing in sound files, nor in some that were changed, and finds what is wrong."""

from __future__ import annotations

import random
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from tools.fuzz import harness as fuzz_harness
from tools.fuzz.harness import BrokenPromiseError, Harness, examine, expect, tried
from tools.fuzz.mutation import raw_mutation
from tools.fuzz.targets import NAMES, harness_of
from tophub_registry.errors import InputError
from tophub_registry.records import families

RUN = Path(__file__).parents[2] / "tools" / "fuzz" / "run.py"
SIZE = 1 << 14
SEEDS = 8
TRIES = {"log": 40, "converter": 20, "index": 40, "target": 300, "tasks": 60, "bundle": 60, "model": 60}


@pytest.mark.parametrize("name", NAMES)
def test_nothing_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setattr(families, "_asked_of_llvm", lambda _name: None)  # importing TVM is slow and large
    harness, chance = harness_of(name), random.Random(name)
    seeds = harness.seeds()
    seeds = chance.sample(seeds, min(SEEDS, len(seeds)))
    inputs = seeds + [
        harness.mutate(chance.choice(seeds), SIZE, chance, raw_mutation(chance)) for _ in range(TRIES[name])
    ]
    for data in inputs:
        assert len(data) <= SIZE or data in seeds
        finding = examine(harness, data, tmp_path)
        assert finding is None, f"{finding.kind}\n{data!r}\n{finding.report}"
    assert not list(tmp_path.iterdir())


def harness_with(check: object) -> Harness:
    return replace(harness_of("target"), check=check)


def fails(_data: bytes, folder: Path) -> None:
    (folder / "left").write_bytes(b"")
    raise KeyError


def is_slow(_data: bytes, _folder: Path) -> None:
    sum(range(2_000_000))


def breaks_a_promise(_data: bytes, _folder: Path) -> None:
    expect(False, "what is promised")


@pytest.mark.parametrize(
    ("check", "kind"),
    [
        (fails, "KeyError in test_fuzz.fails"),
        (is_slow, "too slow"),
        (breaks_a_promise, "what is promised"),
    ],
)
def test_what_is_wrong_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, check: object, kind: str) -> None:
    monkeypatch.setattr(fuzz_harness, "MAX_SECONDS", 0.01)
    finding = examine(harness_with(check), b"", tmp_path)
    assert finding is not None
    assert finding.kind == kind
    assert not list(tmp_path.iterdir())


def test_an_error_is_one_line_of_ours() -> None:
    def refuses(text: str) -> None:
        error = InputError("x")
        error.message = text
        raise error

    assert tried(refuses, "not a log") is None
    for text in ("a\nb", "\x1b[2J", "x" * 5000):
        with pytest.raises(BrokenPromiseError):
            tried(refuses, text)


def test_inputs_are_tried_again_without_a_fuzzer(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"llvm -mcpu=znver4")
    done = subprocess.run(
        [sys.executable, RUN, "target", tmp_path / "x"], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout == f"{tmp_path / 'x'}: nothing\n"
