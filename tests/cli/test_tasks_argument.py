"""Several models at once: each workload is one task, with the layers of all."""

from tests.registries import write_rows
from tophub_registry.cli.packages_here import packages_here
from tophub_registry.cli.tasks_argument import tasks_of_all
from tophub_registry.packages.version import Reference
from tophub_registry.publishing.release import release
from tophub_registry.publishing.yank import yank
from tophub_registry.records.target import Target
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


def test_autotvms_tasks_come_first_and_then_our_own(tmp_path):
    own = dense(16, ["b"]).model_copy(update={"task": "conv2d_NCHWc_winograd.x86"})
    one = write(tmp_path / "one.json", own, dense(8, ["a"]))
    two = write(tmp_path / "two.json", dense(32, ["c"]))
    assert [task.args[0][1][1] for task in tasks_of_all([one, two], "llvm")] == [8, 32, 16]


def test_one_model_keeps_its_layers_names(tmp_path):
    one = write(tmp_path / "one.json", dense(8, ["a"]))
    assert tasks_of_all([one], "llvm")[0].layers == ["a"]


def test_the_newest_log_of_the_package_is_found_without_a_network(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("TOPHUB_LOCATION", "http://127.0.0.1:9")  # nobody answers there, and nobody is asked
    root = tmp_path / ".tvm" / "tophub"
    root.mkdir(parents=True)
    for name in ("cuda_v0.09.log", "cuda_v0.10.log", "cuda_v0.10.log.part", "llvm_v0.11.log"):
        (root / name).touch()
    assert packages_here(Target.parse("cuda -model=h100")) == [root / "cuda_v0.10.log"]
    assert packages_here(Target.parse("opencl")) == []


def test_a_yanked_version_is_passed_over(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    registry = tmp_path / "registry"
    for rows in (1, 2):
        release("cuda", write_rows(tmp_path / f"{rows}" / "cuda.log", rows), registry)
    yank(Reference.parse("cuda@v0.02"), "wrong device", registry)
    monkeypatch.setenv("TOPHUB_LOCATION", str(registry))
    assert packages_here(Target.parse("cuda -model=h100")) == [registry / "cuda_v0.01.log"]
