"""Several models at once: each workload is one task, with the layers of all."""

import pytest

from tophub_registry.cli.tasks_argument import files_of_all, merged
from tophub_registry.errors import UsageError
from tophub_registry.records.task import Task, TaskFile, tensor


def tasks_of_all(models, *how):
    return merged(models, files_of_all(models, *how))


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


def test_autotvms_tasks_come_first_and_then_our_own(tmp_path):
    own = dense(16, ["b"]).model_copy(update={"task": "conv2d_NCHWc_winograd.x86"})
    one = write(tmp_path / "one.json", own, dense(8, ["a"]))
    two = write(tmp_path / "two.json", dense(32, ["c"]))
    assert [task.args[0][1][1] for task in tasks_of_all([one, two], "llvm")] == [8, 32, 16]


def test_one_model_keeps_its_layers_names(tmp_path):
    one = write(tmp_path / "one.json", dense(8, ["a"]))
    assert tasks_of_all([one], "llvm")[0].layers == ["a"]


def test_open_sizes_are_fixed_for_one_model(tmp_path):
    onnx = pytest.importorskip("onnx")
    from tests.frontends.nets import Net

    net = Net(("N", 3, "height", "width"))
    path = tmp_path / "open.onnx"
    onnx.save(net.model(net.add("Conv", "x", net.weight(4, 3, 3, 3))), path)
    shapes = {"x": (1, 3, 20, 30)}
    (task, *_) = tasks_of_all([str(path)], "cuda", shapes)
    assert task.args[0][1] == [1, 3, 20, 30]
    with pytest.raises(UsageError, match="leaves sizes open"):
        tasks_of_all([str(path)], "cuda")
    with pytest.raises(UsageError, match="--shape works with one model only"):
        tasks_of_all([str(path), str(path)], "cuda", shapes)
