"""The task lists of gluoncv's models beside those that a real AutoTVM extracts, of one model of each family.

python tools/compare_tasks.py -o tasks.jsonl                 go on where an earlier run ended
python tools/compare_tasks.py -o tasks.jsonl --only 'ssd_*'  only these (repeatable)
python tools/compare_tasks.py -o tasks.jsonl --again         try once more what differed or failed
python tools/compare_tasks.py -o tasks.jsonl --page docs/task-lists.md     write the page too

The AutoTVM is that of `tests/old_client`. It takes each model apart into layers and compiles them one by one, because
in a whole network it stops at the first operator that it can't schedule. The exit code is 1 if a task list differs.
"""

from __future__ import annotations

import argparse
import fnmatch
import json
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import IO, Any

from model_zoo.families import in_order, one_of_each
from model_zoo.task_lists import AUTOTVM, GLUONCV, KINDS, Row, difference, differs, page

from tophub_registry.errors import EnvironmentFailure, TophubError, UsageError
from tophub_registry.frontends.mxnet.names import NAMES

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tests.old_client.environment import NoOldClientError, OldClient, OldClientError, find_or_build

TOGETHER = 4
"""How many models AutoTVM is asked about at a time: starting it takes longer than a small model."""


def read_rows(path: Path) -> list[Row]:
    """Return the rows of earlier runs, the last of each model and kind of target."""
    rows: dict[Any, Row] = {}
    for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else []:
        row = json.loads(line)
        rows[row["model"], row["kind"]] = row
    return [*rows.values()]


def read(name: str, folder: Path) -> tuple[Mapping[str, list[Any]], list[Any]]:
    """Return our tasks by kind of target, and the question to AutoTVM: one for each kind.

    Raises
    ------
    TophubError
        We can't read the model.
    """
    from tophub_registry.frontends.mxnet.checkpoint import read_source
    from tophub_registry.frontends.mxnet.translation import translate_source

    source = read_source(name, batch=1, shapes=None, params=None, weightless=True)
    model = translate_source(source)
    symbol = folder / f"{name}-symbol.json"
    symbol.write_text(source.symbol.tojson(), encoding="utf-8")
    ours = {kind: [[task.task, task.args] for task in model.tasks(kind).tasks] for kind in KINDS}
    return ours, [[str(symbol), kind, source.inputs] for kind in KINDS]


def compare(old_client: OldClient, names: Sequence[str], timeout: float) -> list[Row]:
    """Return a row for each model and kind of target."""
    rows: list[Row] = []
    asked: list[tuple[str, str, list[Any]]] = []
    questions: list[Any] = []
    with tempfile.TemporaryDirectory() as folder:
        for name in names:
            try:
                ours, its = read(name, Path(folder))
            except TophubError as error:
                rows += [{"model": name, "kind": kind, "why": error.message, "whose": GLUONCV} for kind in KINDS]
                continue
            asked += [(name, kind, ours[kind]) for kind in KINDS]
            questions += its
        try:
            answers = old_client.run("extract", json.dumps(questions), "--select", "--reasons", timeout=timeout)
        except OldClientError as error:
            if len(names) > 1:  # one of them has ended the process
                return [row for name in names for row in compare(old_client, [name], timeout)]
            answers = [f"it failed: {str(error).splitlines()[-1]}"] * len(asked)
    for (name, kind, tasks), theirs in zip(asked, answers, strict=True):
        found = {"why": theirs, "whose": AUTOTVM} if isinstance(theirs, str) else difference(tasks, theirs)
        rows.append({"model": name, "kind": kind, **found})
    return rows


def run(models: Sequence[str], output: Path, timeout: float, stream: IO[str]) -> None:
    """Compare models, and append the rows to the file."""
    try:
        old_client = find_or_build()
    except NoOldClientError as error:
        raise EnvironmentFailure(f"no old client: {error}") from error
    for begin in range(0, len(models), TOGETHER):
        some = models[begin : begin + TOGETHER]
        rows = compare(old_client, some, timeout * len(some))
        with output.open("a", encoding="utf-8") as lines:
            lines.writelines(json.dumps(row) + "\n" for row in rows)
        for row in rows:
            stream.write(f"{begin + len(some)}/{len(models)} {row['model']} {row['kind']}: {_said(row)}\n")
        stream.flush()


def _said(row: Row) -> str:
    if "why" in row:
        return str(row["why"])
    return f"{row['both']} tasks in both, only ours {row['ours']}, only AutoTVM's {row['theirs']}"


def chosen(patterns: Sequence[str]) -> list[str]:
    """Return one model of each family, of those that match a pattern if there are any."""
    models = one_of_each(in_order(NAMES))
    if not patterns:
        return models
    found = [name for name in in_order(NAMES) if any(fnmatch.fnmatch(name, pattern) for pattern in patterns)]
    if not found:
        raise UsageError(f"no model is called {' or '.join(patterns)}", remedy="for example --only 'ssd_*'")
    return found


def main(tell: Callable[[str], object] = sys.stderr.write) -> int:
    """Parse, compare, print."""
    options = argparse.ArgumentParser(description="Compare task lists with AutoTVM's.")
    options.add_argument("-o", "--output", type=Path, required=True, metavar="FILE", help="gets a JSON line for each")
    options.add_argument("--only", action="append", default=[], metavar="PATTERN", help="only such models (repeatable)")
    options.add_argument("--again", action="store_true", help="once more what differed or failed")
    options.add_argument("--page", type=Path, metavar="PAGE", help="write this page of all that is in FILE")
    options.add_argument("--timeout", type=float, default=600, metavar="S", help="seconds for a model and target")
    given = options.parse_args()
    try:
        done = {
            row["model"]
            for row in read_rows(given.output)
            if not given.again or not ("why" in row or row["ours"] or row["theirs"])
        }
        run([name for name in chosen(given.only) if name not in done], given.output, given.timeout, sys.stdout)
    except TophubError as error:
        tell(f"compare_tasks: error: {error}\n")
        return error.exit_code
    rows = read_rows(given.output)
    if given.page is not None:
        given.page.write_text(page(rows), encoding="utf-8")
    return int(any(map(differs, rows)))


if __name__ == "__main__":
    sys.exit(main())
