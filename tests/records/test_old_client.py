"""What a real old client makes of our merged and converted logs."""

from __future__ import annotations

import json
import os
import subprocess
from typing import TYPE_CHECKING, Any

import pytest

from tests.old_client.environment import NoOldClientError, find_or_build
from tophub_registry.records.convert import convert_log
from tophub_registry.records.merge import merge_logs

if TYPE_CHECKING:
    from pathlib import Path

# The client's own reduction of two logs, and what it then answers for every workload, from that and from ours.
SCRIPT = """
import json, logging, sys
import mxnet  # before tvm, whose libraries are in its way otherwise
from tvm import autotvm

logging.disable(logging.CRITICAL)
ours, picked, *logs = sys.argv[1:]
with open(picked + ".all", "w") as together:
    for log in logs:
        together.write(open(log).read())
autotvm.record.pick_best(picked + ".all", picked)

def answers(path):
    history = autotvm.task.ApplyHistoryBest(path)
    found = {**history.best_by_model, **history.best_by_targetkey}
    return {str(key): inp.config.to_json_dict() for key, (inp, _) in found.items()}

print(json.dumps([answers(ours), answers(picked)]))
"""


def answers(*arguments: Path) -> list[dict[str, Any]]:
    try:
        python = find_or_build().python
    except NoOldClientError as error:
        if os.environ.get("CI"):
            raise
        pytest.skip(f"no old client: {error}")
    done = subprocess.run([python, "-c", SCRIPT, *arguments], capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert isinstance(found, list)
    return found


@pytest.mark.slow
def test_it_answers_from_our_merged_log_as_from_its_own_pick_best(upstream: Path, tmp_path: Path) -> None:
    names = ["cuda_v0.05", "cuda_v0.06"]
    merge_logs(upstream / f"{names[0]}.log", [upstream / f"{names[1]}.log"], tmp_path / "merged.log")
    for name in names:
        convert_log(upstream / f"{name}.log", tmp_path / f"{name}.log")
    logs = [tmp_path / f"{name}.log" for name in names]
    ours, theirs = answers(tmp_path / "merged.log", tmp_path / "picked.log", *logs)
    assert len(ours) > 1000
    assert ours == theirs
