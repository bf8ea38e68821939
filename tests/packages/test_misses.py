"""Misses are kept only if that is switched on, by as many processes as like, and say no more than a task file."""

import json
import os
import subprocess
import sys

import pytest

from tests.records.rows import record
from tophub_registry.errors import EnvironmentFailure, InputError, UsageError
from tophub_registry.packages import misses
from tophub_registry.packages.root import Root
from tophub_registry.records.target import Target
from tophub_registry.records.task import Task

ZEN4, ZEN4_AS_FAMILY = Target.parse("llvm -mcpu=znver4"), Target.parse("llvm -keys=x86-64-v4 -mcpu=znver4")
ROCKET, H100 = Target.parse("llvm -mcpu=rocketlake"), Target.parse("cuda -model=h100")


def task(channels=64, count=1):
    made = record(channels=channels).input
    return Task(task=made.task, args=made.args, count=count, layers=["secret.layer"])


@pytest.fixture
def root(tmp_path):
    return Root.at(tmp_path / "root")


def counts(root):
    return {(miss.target, miss.args[0][1][1]): miss.count for miss in misses.read_misses(root).misses}


def test_by_default_nothing_is_kept_and_nothing_is_written(root):
    assert not misses.are_kept(root, {})
    assert misses.read_misses(root).misses == []
    assert not root.path.exists()


def test_the_variable_comes_before_the_root(root):
    assert misses.are_kept(root, {"TOPHUB_MISSES": "1"})
    misses.switch(root, on=True)
    assert misses.are_kept(root, {})
    assert not misses.are_kept(root, {"TOPHUB_MISSES": "0"})
    with pytest.raises(UsageError, match="it can be 1 or 0"):
        misses.are_kept(root, {"TOPHUB_MISSES": "yes"})
    misses.switch(root, on=False)
    assert not misses.are_kept(root, {})


def test_the_same_task_of_a_target_is_counted_whatever_family_the_target_names(root):
    misses.add(root, ZEN4, [task(64, 3), task(32)])
    misses.add(root, ZEN4_AS_FAMILY, [task(64, 2)])
    misses.add(root, ROCKET, [task(64)])
    assert counts(root) == {
        ("llvm -mcpu=znver4", 64): 5,
        ("llvm -mcpu=znver4", 32): 1,
        ("llvm -mcpu=rocketlake", 64): 1,
    }


def test_switching_keeps_the_misses_and_clearing_keeps_the_switch(root):
    misses.add(root, ZEN4, [task()])
    misses.switch(root, on=True)
    assert len(counts(root)) == 1
    misses.clear(root)
    assert counts(root) == {}
    assert misses.are_kept(root, {})


def test_the_file_has_no_names_of_models_or_layers(root):
    misses.add(root, ZEN4, [task()])
    written = misses.misses_file(root).read_text()
    assert "secret" not in written
    assert set(json.loads(written)["misses"][0]) == {"target", "task", "args", "count"}
    assert "secret" not in misses.read_misses(root).tasks().model_dump_json()


def test_tasks_are_those_of_one_kind_the_most_frequent_first(root):
    misses.add(root, ZEN4, [task(16), task(64, 3)])
    misses.add(root, ROCKET, [task(16, 4), task(8)])
    tasks = misses.read_misses(root).tasks()
    assert (tasks.model, tasks.kind, tasks.shapes) == ("misses", "llvm", {})
    assert [(each.args[0][1][1], each.count) for each in tasks.tasks] == [(16, 5), (64, 3), (8, 1)]
    misses.add(root, H100, [task(64)])
    with pytest.raises(UsageError, match="cuda and llvm"):
        misses.read_misses(root).tasks()
    assert len(misses.read_misses(root).tasks("cuda").tasks) == 1
    assert len(misses.read_misses(root).tasks("llvm -mcpu=rocketlake").tasks) == 2
    with pytest.raises(UsageError, match="no misses are kept for rocm"):
        misses.read_misses(root).tasks("rocm")


def test_there_are_at_most_so_many(root, monkeypatch):
    monkeypatch.setattr(misses, "MAX_MISSES", 2)
    misses.add(root, ZEN4, [task(1), task(2), task(3)])
    misses.add(root, ZEN4, [task(2), task(3)])
    assert counts(root) == {("llvm -mcpu=znver4", 1): 1, ("llvm -mcpu=znver4", 2): 2}


@pytest.mark.parametrize("content", ["", "{", '{"misses": 3}', '{"schema_version": 2}', '{"owner": "me"}'])
def test_a_damaged_file_is_one_error_and_can_be_cleared(content, root):
    misses.misses_file(root).parent.mkdir(parents=True)
    misses.misses_file(root).write_text(content)
    with pytest.raises(InputError, match="--clear"):
        misses.add(root, ZEN4, [task()])
    assert misses.misses_file(root).read_text() == content
    misses.clear(root)
    misses.add(root, ZEN4, [task()])
    assert len(counts(root)) == 1


def test_a_lock_that_another_process_keeps_is_one_error(root, monkeypatch):
    monkeypatch.setattr(misses, "_PATIENCE", 0.05)
    misses.switch(root, on=True)
    with misses._changing(root), pytest.raises(EnvironmentFailure, match="locked"):
        misses.add(root, ZEN4, [task()])


def test_processes_that_count_at_the_same_time_lose_nothing(root):
    program = (
        "import sys\n"
        "from tests.packages.test_misses import H100, Root, ZEN4, misses, task\n"
        "root = Root.at(sys.argv[1])\n"
        "for number in range(20):\n"
        "    misses.add(root, ZEN4, [task(64), task(number + 1)])\n"
    )
    command = [sys.executable, "-c", program, str(root.path)]
    processes = [subprocess.Popen(command, env=os.environ) for _ in range(4)]
    assert [process.wait(60) for process in processes] == [0] * 4
    found = counts(root)
    assert found.pop(("llvm -mcpu=znver4", 64)) == 80
    assert set(found.values()) == {4}
    assert len(found) == 20
    assert [path.name for path in misses.misses_file(root).parent.glob("*.json")] == ["misses.json"]
