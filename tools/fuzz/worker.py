"""The process that runs atheris on one harness: `run.py` starts it, watches it, and starts it again after a crash.

Findings do not end it: of each kind the smallest input is kept in the target's `findings/`. An input that takes a
minute, or two GiB of memory, does end it, and libFuzzer keeps the input.
"""

from __future__ import annotations

import hashlib
import random
import shutil
import sys
import tempfile
from pathlib import Path

import atheris

from .targets import harness_of

_PACKAGE = "tophub_registry"


def main() -> None:
    """Fuzz until libFuzzer's own limits: `worker NAME FOLDER LIBFUZZER-OPTION…`."""
    name, folder, *options = sys.argv[1:]
    atheris.enabled_hooks.add("RegEx")
    with atheris.instrument_imports(include=[_PACKAGE]):
        harness = harness_of(name)
    from .harness import MAX_INPUT, examine

    findings = Path(folder) / "findings"
    findings.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(prefix="tophub-fuzz-", dir="/dev/shm"))  # in memory: files are made often

    def one(data: bytes) -> None:
        finding = examine(harness, data, scratch)
        if finding is not None:
            keep(findings, finding.kind, data, finding.report)

    def mutator(data: bytes, size: int, seed: int) -> bytes:
        chance = random.Random(seed)  # noqa: S311
        try:
            return harness.mutate(data, min(size, MAX_INPUT), chance, atheris.Mutate)
        except RecursionError:  # a document that became too deep to be changed further
            return harness.mutate(data[: len(data) // 2], min(size, MAX_INPUT), chance, atheris.Mutate)

    try:
        atheris.Setup([sys.argv[0], *options], one, custom_mutator=mutator)
        atheris.Fuzz()
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def keep(findings: Path, kind: str, data: bytes, report: str) -> None:
    """Keep an input, unless a smaller one of the same kind is kept."""
    name = hashlib.sha256(kind.encode()).hexdigest()[:12]
    path = findings / name
    if path.exists() and path.stat().st_size <= len(data):
        return
    if not path.exists():
        print(f"FINDING {name} {kind}", file=sys.stderr, flush=True)
    path.write_bytes(data)
    path.with_suffix(".txt").write_text(f"{kind}\n\n{report}", encoding="utf-8", errors="backslashreplace")


if __name__ == "__main__":
    main()
