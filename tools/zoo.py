"""Every model of gluoncv's zoo: does it compile, does it agree with MXNet, and if not, why.

python tools/zoo.py -o zoo.jsonl                     all models, one of each family first, each in a process of its own
python tools/zoo.py -o zoo.jsonl --resume            go on; --again tries once more what failed through our fault
python tools/zoo.py -o zoo.jsonl --first             one of each family
python tools/zoo.py -o zoo.jsonl --only 'ssd_*'      only these (repeatable)
python tools/zoo.py --sample 2                       a few at random, others after each commit
python tools/zoo.py -o zoo.jsonl --resume --page docs/zoo.md     write the page too
python tools/zoo.py -o cuda.jsonl --target 'cuda -model=h100 -arch=sm_90'     compile only, where there is no GPU

`tools/model_zoo/zoo.jsonl` has the rows that docs/zoo.md was made from. Weights are
random and nothing is downloaded. Ctrl-C loses nothing but the models that are being tried. The exit code is 1 if a
model failed or reached a limit, and that is neither gluoncv's nor MXNet's fault.
"""

from __future__ import annotations

import argparse
import fnmatch
import json
import random
import subprocess
import sys
import threading
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from datetime import datetime, timezone
from pathlib import Path
from typing import IO

from model_zoo.families import in_order, one_of_each
from model_zoo.page import page, said
from model_zoo.process import Limits, Row, try_one
from model_zoo.worker import LIMIT, OURS

from tophub_registry.errors import InputError, TophubError, UsageError
from tophub_registry.frontends.mxnet.names import NAMES
from tophub_registry.records.target import Target

ROOT = Path(__file__).resolve().parents[1]
WORKER = "model_zoo.worker"


def newest_log(target: str) -> Path:
    """Return this checkout's newest log for a target."""
    logs = sorted((ROOT / "registry_data").glob(f"{Target.parse(target).kind}_v*.log"))
    if not logs:
        raise UsageError(f"no package for {target}", remedy="choose llvm or cuda")
    return logs[-1]


def read_rows(path: Path, target: str) -> dict[str, Row]:
    """Return the rows of an earlier run, by model; the last of each.

    Raises
    ------
    InputError
        The file is not such a run's, or another target's.
    """
    rows: dict[str, Row] = {}
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    for number, line in enumerate(lines, 1):
        try:
            row = json.loads(line)
            model, its = row["model"], row["target"]
        except (ValueError, TypeError, KeyError) as error:
            if number == len(lines) and isinstance(error, ValueError):
                continue  # it was cut off, and is tried again
            raise InputError("not a line of this tool", file=path, line=number, remedy="choose another -o") from error
        if its != target:
            raise InputError(f"this is about {its}", file=path, line=number, remedy=f"--target '{its}', or another -o")
        rows[model] = row
    return rows


def chosen(given: argparse.Namespace, names: Iterable[str] = NAMES) -> list[str]:
    """Return the models to try, in order.

    Raises
    ------
    UsageError
        A pattern matches no model.
    """
    models = in_order(names)
    for pattern in given.only or ():
        if not fnmatch.filter(models, pattern):
            raise UsageError(f"no model is called {pattern!r}", remedy="for example --only 'ssd_*'")
    if given.only:
        models = [name for name in models if any(fnmatch.fnmatch(name, pattern) for pattern in given.only)]
    if given.first:
        models = one_of_each(models)
    if given.sample is not None:
        drawn = random.Random(given.seed).sample(models, min(given.sample, len(models)))  # noqa: S311
        models = [name for name in models if name in drawn]
    return models


def run(models: Sequence[str], given: argparse.Namespace, tell: Callable[[Row], None]) -> list[Row]:
    """Try models, append what becomes of each to the file, and return the rows.

    Raises
    ------
    KeyboardInterrupt
        After all processes have ended.
    """
    log = newest_log(given.target)
    always = {"target": given.target, "commit": commit("%h"), "date": f"{datetime.now(timezone.utc):%Y-%m-%d}"}
    stopped, rows = threading.Event(), []
    limits = Limits(given.timeout, given.memory)

    def attempt(name: str) -> Row | None:
        if stopped.is_set():
            return None
        row = try_one(given.worker, [name, given.target, log], limits, stopped)
        return row and {"model": name, **always, **row}

    with ThreadPoolExecutor(given.jobs) as pool:
        running = [pool.submit(attempt, name) for name in models]
        try:
            for each in as_completed(running):
                if (row := each.result()) is not None:
                    rows.append(row)
                    if given.output is not None:
                        _append(given.output, row)
                    tell(row)
        finally:
            stopped.set()
    return rows


def _append(path: Path, row: Row) -> None:
    with path.open("ab+") as stream:
        stream.seek(0)
        stream.truncate(stream.read().rfind(b"\n") + 1)  # a last line that was cut off
        stream.write(json.dumps(row).encode() + b"\n")


def commit(form: str) -> str:
    """Return something of git's last commit; empty without git."""
    command = ["git", "log", "-1", f"--format={form}"]
    try:
        return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False).stdout.strip()
    except OSError:
        return ""


def tell_of(total: int, stream: IO[str]) -> Callable[[Row], None]:
    """Return what prints a line for each model that is done."""
    done = 0

    def tell(row: Row) -> None:
        nonlocal done
        done += 1
        took = f"{row['seconds']:.0f} s, {row['memory']:.1f} GiB"
        stream.write(f"{done}/{total} {row['model']}: {said(row)} ({took})\n")
        stream.flush()

    return tell


def parser() -> argparse.ArgumentParser:
    """Return the options."""
    options = argparse.ArgumentParser(description="Try every model of gluoncv's zoo.")
    options.add_argument("-o", "--output", type=Path, metavar="FILE", help="gets a JSON line for each model")
    options.add_argument("--resume", action="store_true", help="leave out the models that are in FILE")
    options.add_argument("--again", action="store_true", help="with --resume, but not those that failed by our fault")
    options.add_argument("--page", type=Path, metavar="PAGE", help="write this page of all that is in FILE")
    options.add_argument("--target", default="llvm", help="by default llvm, this machine's processor")
    options.add_argument("--only", action="append", metavar="PATTERN", help="only models with such names (repeatable)")
    options.add_argument("--first", action="store_true", help="only the first model of each family")
    options.add_argument("--sample", type=int, metavar="N", help="only so many models, drawn at random")
    options.add_argument("--seed", default=commit("%ct"), help="of the sample; by default the date of the last commit")
    options.add_argument("--jobs", type=int, default=1, metavar="N", help="how many models at a time")
    options.add_argument("--timeout", type=float, default=600, metavar="S", help="seconds for a model, by default 600")
    options.add_argument("--memory", type=float, default=12, metavar="GIB", help="GiB for a model, by default 12")
    options.add_argument("--worker", default=WORKER, help=argparse.SUPPRESS)
    return options


def main() -> None:
    """Parse, try, print."""
    given = parser().parse_args()
    try:
        sys.exit(_main(given))
    except TophubError as error:
        sys.stderr.write(f"zoo: error: {error}\n")
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        sys.stderr.write("zoo: interrupted; --resume goes on\n")
        sys.exit(130)


def _main(given: argparse.Namespace) -> int:
    if given.output is None and (given.resume or given.page):
        raise UsageError("--resume and --page need the file of -o")
    if given.output is not None and given.output.exists() and not given.resume:
        raise UsageError("the file already exists", file=given.output, remedy="--resume goes on")
    before = read_rows(given.output, given.target) if given.resume else {}
    if given.again:
        before = {name: row for name, row in before.items() if row.get("whose") not in {OURS, LIMIT}}
    models = [name for name in chosen(given) if name not in before]
    if given.sample is not None:
        sys.stderr.write(f"zoo: the seed is {given.seed}: {', '.join(models)}\n")
    rows = run(models, given, tell_of(len(models), sys.stdout))
    if given.page is not None:
        every = read_rows(given.output, given.target).values()
        given.page.write_text(page([*every], NAMES), encoding="utf-8")
    return int(any(row.get("whose") in {OURS, LIMIT} for row in rows))


if __name__ == "__main__":
    main()
