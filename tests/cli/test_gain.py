"""`tophub gain` as a user types it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

pytest.importorskip("tvm", reason="needs the extra [tune]")

from tests.records.rows import row
from tophub_registry.cli import main
from tophub_registry.devices.device import resolve
from tophub_registry.records.task import Task, TaskFile, tensor


@pytest.mark.parametrize("target", [None, "cuda -model=h100"])
def test_a_log_that_has_nothing_for_the_model_is_an_error(
    target: str | None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """It is of other layers, or for another target; nothing is measured."""
    tasks, log = tmp_path / "tasks.json", tmp_path / "other.log"
    task = Task(task="dense_nopack.x86", args=[tensor([1, 64]), tensor([36, 64]), None, "float32"])
    TaskFile(model="tiny", kind="llvm", shapes={}, tasks=[task]).write(tasks)
    here = str(resolve("llvm"))
    log.write_text(json.dumps(row(target=target or here)) + "\n")
    with pytest.raises(SystemExit) as ended:
        main(["gain", str(tasks), "--log", str(log)])
    assert ended.value.code == 1
    told = capsys.readouterr()
    said = f"{log}: no record for any layer of this model on {here} (`tophub show` says what a log holds)"
    assert (told.out, told.err) == ("", f"tophub: error: {said}\n")
