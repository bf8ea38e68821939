"""Fuzz a reader of untrusted files with atheris, which is installed with the extra [fuzz] in an environment of its own.

python tools/fuzz/run.py log --minutes 30      log, converter, index, target, tasks, bundle or model
python tools/fuzz/run.py log --again           what was found before, once more
python tools/fuzz/run.py log FILE…             these inputs, without atheris

Inputs worth keeping and findings are in .cache/fuzz/TARGET. The exit code is 1 if anything was found.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from datetime import datetime, timezone
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[0:1] = [str(ROOT / "tools"), str(ROOT)]  # and not this folder, whose modules have common names

from fuzz.harness import MAX_INPUT, examine  # noqa: E402
from fuzz.targets import NAMES, harness_of  # noqa: E402

_PROGRESS = re.compile(r"#(?P<runs>\d+)\s.*cov: (?P<cov>\d+) ft: (?P<ft>\d+) corp: (?P<corpus>\d+)")
_TOLD = 30.0
"""Seconds between two lines of progress."""


def main() -> None:
    """Parse, run, print."""
    parser = argparse.ArgumentParser(description="Fuzz a reader of untrusted files.")
    parser.add_argument("target", choices=NAMES)
    parser.add_argument("files", nargs="*", type=Path, help="inputs to try, instead of fuzzing")
    parser.add_argument("--minutes", type=float, default=30, help="by default 30")
    parser.add_argument("--again", action="store_true", help="try the findings of earlier runs")
    parser.add_argument("--folder", type=Path, help="by default .cache/fuzz/TARGET")
    options = parser.parse_args()
    folder = options.folder or ROOT / ".cache" / "fuzz" / options.target
    files = list(options.files)
    if options.again:
        files += [path for path in sorted((folder / "findings").glob("*")) if path.suffix != ".txt"]
    if files or options.again:
        sys.exit(_reproduce(options.target, files))
    sys.exit(_fuzz(options.target, folder, options.minutes * 60))


def _reproduce(target: str, files: Sequence[Path]) -> int:
    """Try inputs; return 1 if anything is wrong with one."""
    harness, found = harness_of(target), 0
    for file in files:
        with tempfile.TemporaryDirectory(prefix="tophub-fuzz-") as scratch:
            finding = examine(harness, file.read_bytes(), Path(scratch))
        print(f"{file}: {'nothing' if finding is None else finding.kind}")
        if finding is not None:
            print(finding.report)
            found = 1
    return found


def _fuzz(target: str, folder: Path, seconds: float) -> int:
    """Fuzz for a time, whatever happens to the process that does it; return 1 if anything was found."""
    corpus = _prepare(target, folder)
    start, runs, told, said = time.monotonic(), 0, 0.0, ""
    while (left := seconds - (time.monotonic() - start)) > 1:
        process = _worker(target, folder, corpus, left)
        done = 0
        assert process.stderr is not None  # noqa: S101  # for the type checker
        with (folder / "worker.log").open("a", encoding="utf-8") as record:
            for line in process.stderr:
                match = _PROGRESS.match(line)
                if match is None:
                    record.write(line)
                    if line.startswith("FINDING"):
                        print(line.rstrip(), flush=True)
                    continue
                done, said = int(match["runs"]), f"coverage {match['cov']}, corpus {match['corpus']}"
                if time.monotonic() - told > _TOLD:
                    told = time.monotonic()
                    minutes = (told - start) / 60
                    print(f"{target}: {minutes:.0f} min, {runs + done} executions, {said}", flush=True)
        runs += done
        if process.wait() and done == 0:
            print(f"{target}: the worker does not start; see {folder / 'worker.log'}")
            return 1
    return _summarise(target, folder, time.monotonic() - start, runs, said)


def _prepare(target: str, folder: Path) -> Path:
    """Write the seeds and the dictionary; return the corpus."""
    harness, corpus = harness_of(target), folder / "corpus"
    for each in (corpus, folder / "findings"):
        each.mkdir(parents=True, exist_ok=True)
    for number, seed in enumerate(harness.seeds()):
        (corpus / f"seed-{number}").write_bytes(seed)
    words = ("".join(f"\\x{byte:02x}" for byte in word.encode()) for word in harness.words)
    (folder / "words.dict").write_text("".join(f'"{word}"\n' for word in words), encoding="ascii")
    return corpus


def _worker(target: str, folder: Path, corpus: Path, seconds: float) -> subprocess.Popen[str]:
    command = [
        sys.executable, "-m", "fuzz.worker", target, str(folder), str(corpus), f"-max_total_time={int(seconds)}",
        f"-max_len={MAX_INPUT}", "-timeout=60", "-rss_limit_mb=2048", "-print_final_stats=1", "-use_value_profile=1",
        f"-dict={folder / 'words.dict'}", f"-artifact_prefix={folder / 'findings'}{os.sep}",
    ]  # fmt: skip
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path[:2])}
    return subprocess.Popen(
        command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, errors="replace"
    )


def _summarise(target: str, folder: Path, seconds: float, runs: int, said: str) -> int:
    """Print what a run did, and keep it."""
    findings = list(_found(target, folder))
    at = datetime.now(timezone.utc).isoformat(timespec="seconds")
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    minutes = {"minutes": round(seconds / 60, 1), "processor_minutes": round((used.ru_utime + used.ru_stime) / 60, 1)}
    run = {"target": target, "at": at, **minutes, "executions": runs, "reached": said}
    run |= {"findings": len(findings), "processor": _processor(), "python": platform.python_version()}
    with (folder / "runs.jsonl").open("a", encoding="utf-8") as record:
        record.write(json.dumps(run) + "\n")
    took = f"{minutes['minutes']} minutes ({minutes['processor_minutes']} of a processor)"
    print(f"{target}: {took}, {runs} executions, {said}, {len(findings)} kinds of findings")
    for path in findings:
        about = path.with_suffix(".txt")
        kind = about.read_text(encoding="utf-8").partition("\n")[0] if about.exists() else "crash, time-out or memory"
        print(f"  {kind}\n    python tools/fuzz/run.py {target} {path}")
    return 1 if findings else 0


def _found(target: str, folder: Path) -> Iterator[Path]:
    """Yield the inputs of the findings; those that took long by the clock alone, on a busy machine, are deleted."""
    for path in sorted((folder / "findings").iterdir()):
        if path.name.startswith(("timeout-", "slow-unit-")):
            with tempfile.TemporaryDirectory(prefix="tophub-fuzz-") as scratch:
                if examine(harness_of(target), path.read_bytes(), Path(scratch)) is None:
                    path.unlink()
                    continue
        if path.suffix != ".txt":
            yield path


def _processor() -> str:
    names = re.findall(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text(encoding="utf-8"))
    return f"{names[0] if names else platform.machine()}, {os.cpu_count()} cores"


if __name__ == "__main__":
    main()
