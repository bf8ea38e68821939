"""Several models at once: each workload is one task, with the layers of all."""

from tophub_registry.cli.tasks_argument import tasks_of_all
from tophub_registry.records.task import Task, TaskFile, tensor


def dense(units, layers):
    args = [tensor([1, units]), tensor([units, units]), None, "float32"]
    return Task(task="dense_nopack.x86", args=args, count=len(layers), layers=layers)


def write(path, *tasks):
    TaskFile(model=path.stem, kind="llvm", shapes={}, tasks=list(tasks)).write(path)
    return str(path)


def test_a_workload_of_two_models_is_one_task_that_counts_for_both(tmp_path):
    one = write(tmp_path / "one.json", dense(8, ["a"]), dense(16, ["b"]))
    two = write(tmp_path / "two.json", dense(16, ["a", "b"]), dense(32, ["c"]))
    tasks = tasks_of_all([one, two], "llvm")
    assert [(task.args[0][1][1], task.count) for task in tasks] == [(8, 1), (16, 3), (32, 1)]
    assert tasks[1].layers == [f"{one}: b", f"{two}: a", f"{two}: b"]


def test_one_model_keeps_its_layers_names(tmp_path):
    one = write(tmp_path / "one.json", dense(8, ["a"]))
    assert tasks_of_all([one], "llvm")[0].layers == ["a"]
