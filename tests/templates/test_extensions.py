"""Templates that other distributions add: found by their entry points, used as ours are, and harmless where broken."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.records.rows import row

pytest.importorskip("tvm", reason="needs the extra [tune]")

TASK = "dense_rows.x86"

MODULE = '''
"""A dense layer, some rows of outputs at a time."""

from tophub_registry.templates import ConfigSpace, Matmul, Template, split


class DenseRows(Template):
    task = "dense_rows.x86"
    parse = staticmethod(Matmul.parse)

    def _space(self):
        return ConfigSpace([split("tile_x", self.workload.out_units, parts=2)])

    def default(self, target):
        return self.space.config(0)

    def computation(self, config):
        from tvm import te

        data, weight = self.placeholders(config)
        k = te.reduce_axis((0, self.workload.in_units), name="k")
        total = te.compute(self.workload.output, lambda y, x: te.sum(data[y, k] * weight[x, k], axis=k), name="dense")
        return [data, weight, total]

    def apply(self, sch, config):
        _, x, _ = sch.get_loops(sch.get_sblock("dense"))
        outer, _ = sch.split(x, [None, config.value("tile_x")[-1]])
        sch.parallel(outer)
'''

ARGS = [["TENSOR", [1, 32], "float32"], ["TENSOR", [24, 32], "float32"], None, "float32"]


def install(folder: Path, name: str, module: str, **points: str) -> None:
    """Install a distribution with one module in a folder, as pip would."""
    (folder / f"{name}.py").write_text(module)
    described = folder / f"{name}-1.0.dist-info"
    described.mkdir()
    (described / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    lines = "".join(f"{task} = {value}\n" for task, value in points.items())
    (described / "entry_points.txt").write_text(f"[tophub_registry.templates]\n{lines}")


def tophub(folder: Path, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    path = os.pathsep.join([str(folder), os.environ.get("PYTHONPATH", str(Path(__file__).parents[2]))])
    command = [sys.executable, "-m", "tophub_registry.cli", *map(str, arguments)]
    env = {**os.environ, "PYTHONPATH": path}
    return subprocess.run(command, capture_output=True, text=True, check=False, env=env, timeout=300, cwd=folder)


def log_of(folder: Path, task: str, *values: int) -> Path:
    """Write a log with a record for each of some values of the knob `tile_x`."""
    lines = []
    for number, value in enumerate(values):
        its = row(task=task, costs=[1e-5 * (number + 1)])
        its["input"][2] = ARGS
        its["config"] = {"index": number, "code_hash": None, "entity": [["tile_x", "sp", [-1, value]]]}
        lines.append(json.dumps(its) + "\n")
    log = folder / "old.log"
    log.write_text("".join(lines))
    return log


@pytest.mark.slow
def test_records_of_an_added_template_are_validated_tuned_and_looked_up(tmp_path: Path) -> None:
    install(tmp_path, "dense_of_mine", MODULE, **{TASK: "dense_of_mine:DenseRows"})
    done = tophub(tmp_path, "validate", log_of(tmp_path, TASK, 1, 5), "--level", "space", "--json")
    (validation,) = json.loads(done.stdout)["logs"]
    (finding,) = validation["findings"]
    assert (finding["line"], finding["rule"], validation["unchecked"]) == (2, "space", {})
    tasks = {"model": "mine", "kind": "llvm", "shapes": {}, "tasks": [{"task": TASK, "args": ARGS}]}
    (tmp_path / "tasks.json").write_text(json.dumps(tasks))
    tuned = tophub(tmp_path, "tune", "tasks.json", "--trials", "3", "-o", "new.log")
    assert tuned.returncode == 0, tuned.stderr
    assert tophub(tmp_path, "validate", "new.log").returncode == 0
    code = (
        "from pathlib import Path; from tophub_registry.devices.device import resolve\n"
        "from tophub_registry.records.lookup import Source, lookup_all\n"
        "(answer,) = lookup_all(resolve('llvm'), [Source('mine', Path('new.log'))]).values()\n"
        "print(answer.record.input.task, answer.match, answer.source)"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=tmp_path)
    assert found.stdout.split() == [TASK, "device", "mine"]


@pytest.mark.parametrize(
    ("module", "value", "reason"),
    [
        ("import nothing_of_that_name", "broken_thing:Thing", "ModuleNotFoundError: No module named 'nothing_of_that"),
        ("raise RuntimeError('out of order')", "broken_thing:Thing", "RuntimeError: out of order"),
        ("Thing = 3", "broken_thing:Thing", "broken_thing:Thing is not a class derived from Template"),
        (MODULE.replace(TASK, "other.x86"), "broken_thing:DenseRows", "its class is for the task 'other.x86'"),
    ],
    ids=["missing", "raises", "no template", "another task"],
)
def test_one_that_can_t_be_used_is_named_once_and_left_out(
    tmp_path: Path, module: str, value: str, reason: str
) -> None:
    install(tmp_path, "broken_thing", module, **{TASK: value})
    done = tophub(tmp_path, "validate", log_of(tmp_path, TASK, 1, 2, 3))
    assert done.returncode == 0
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"the template {TASK!r} of the distribution broken_thing is not used: {reason}")
    assert "3 not checked" in done.stdout


def test_a_template_of_ours_is_not_replaced_and_two_of_one_name_are_not_guessed_between(tmp_path: Path) -> None:
    code = MODULE.replace(TASK, "dense_pack.x86")
    install(tmp_path, "bold", code, **{"dense_pack.x86": "bold:DenseRows"})
    install(tmp_path, "twin", MODULE, **{TASK: "twin:DenseRows"})
    install(tmp_path, "other_twin", MODULE, **{TASK: "other_twin:DenseRows"})
    done = tophub(tmp_path, "validate", log_of(tmp_path, TASK, 1))
    assert "1 not checked" in done.stdout
    bold, twins = sorted(done.stderr.splitlines())
    assert bold.endswith("of the distribution bold is not used: tophub-registry has a template of this name")
    assert "twin has one of this name too" in twins
    done = tophub(tmp_path, "validate", log_of(tmp_path, "dense_pack.x86", 1))
    assert done.stderr == ""
    assert "tile_y" in done.stdout  # which our template has, and the other one has not
