"""The ways of a record and of a model go one way through the subpackages: none imports or uses one above."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.layers import BELOW_ALL, above, layers, modules_used, subpackage_of, upward_imports, walk
from tests.registries import write_rows
from tophub_registry.packages.location import Folder
from tophub_registry.packages.root import Root
from tophub_registry.packages.version import Reference
from tophub_registry.records.lookup import Match, Source, lookup
from tophub_registry.records.task import Task, tensor

if TYPE_CHECKING:
    import grimp


@pytest.fixture(scope="module")
def graph() -> grimp.ImportGraph:
    """Every import of the package, those inside of functions too."""
    return pytest.importorskip("grimp", reason="needs the extra [dev]").build_graph("tophub_registry")


def test_every_subpackage_has_its_place_in_the_order(graph: grimp.ImportGraph) -> None:
    assert {subpackage_of(module) for module in graph.modules} - BELOW_ALL == set(layers())


def test_no_subpackage_imports_one_above(graph: grimp.ImportGraph) -> None:
    assert upward_imports(graph, layers()) == []
    assert len(graph.find_modules_directly_imported_by("tophub_registry.proof.replay")) > 5


def test_an_import_of_a_subpackage_above_would_be_found(graph: grimp.ImportGraph) -> None:
    import copy

    wrong = copy.deepcopy(graph)
    wrong.add_import(importer="tophub_registry.records.merge", imported="tophub_registry.publishing.release")
    wrong.add_import(importer="tophub_registry.proof.gain", imported="tophub_registry.bench.job")
    assert upward_imports(wrong, layers()) == [
        ("tophub_registry.proof.gain", "tophub_registry.bench.job"),
        ("tophub_registry.records.merge", "tophub_registry.publishing.release"),
    ]


@pytest.mark.slow
def test_the_way_of_a_record(tmp_path: Path) -> None:
    """A row of a tuning log is validated, merged, released, fetched and found, as it was measured."""
    pytest.importorskip("tvm", reason="needs the extra [tune]")
    from tophub_registry.devices.device import resolve
    from tophub_registry.measurement.measure import Measurer
    from tophub_registry.packages.fetch import fetch
    from tophub_registry.proof.validation import validate
    from tophub_registry.publishing.release import release
    from tophub_registry.records.log import read_records
    from tophub_registry.records.merge import merge_logs
    from tophub_registry.tuner.tune import Plan, tune

    target = walk("devices", lambda: resolve("llvm"))
    task = Task(task="dense_nopack.x86", args=[tensor([1, 32]), tensor([12, 32]), None, "float32"])
    old, tuned, merged = tmp_path / "old.log", tmp_path / "tuned.log", tmp_path / "llvm_v0.02.log"
    write_rows(old, 3)
    with Measurer(target) as measurer:
        walk("tuner", lambda: tune([task], target, tuned, measurer, Plan(trials=3)))
    best = min((record for record in read_records(tuned) if record.valid), key=lambda record: record.mean_cost)

    validation = walk("proof", lambda: validate(tuned, "space"))
    assert (validation.errors, validation.package) == (0, "llvm")
    assert walk("records", lambda: merge_logs(old, [tuned], merged)).added == 1
    done = walk("publishing", lambda: release("llvm", merged, tmp_path / "registry"))
    root = Root(tmp_path / "root")
    fetched = walk("packages", lambda: fetch([Reference.parse("llvm")], Folder(tmp_path / "registry"), root))
    (package,) = fetched.packages
    assert package.path.read_bytes() == done.path.read_bytes()
    answer = walk("records", lambda: lookup(target, task.workload, [Source("llvm v0.02", package.path)]))
    assert (answer.match, answer.source) == (Match.DEVICE, "llvm v0.02")
    assert answer.record is not None
    assert json.loads(answer.record.to_json()) == json.loads(best.to_json())


def test_a_step_that_comes_by_a_subpackage_above_would_be_found(tmp_path: Path) -> None:
    """Merging knows no template by itself; with a check that looks into a config's space it uses `templates`."""
    from tophub_registry.records.fitness import Policy
    from tophub_registry.records.merge import merge_logs
    from tophub_registry.templates.validation import check_space

    log = write_rows(tmp_path / "new.log", 2)
    with modules_used() as used:
        merge_logs(log, [log], tmp_path / "merged.log", policy=Policy((check_space,)))
    assert "tophub_registry.templates.validation" in above(used, "records", layers())
    with pytest.raises(AssertionError, match=r"the step in records comes by tophub_registry\.templates"):
        walk("records", lambda: merge_logs(log, [log], tmp_path / "again.log", policy=Policy((check_space,))))


def test_the_way_of_a_model(tmp_path: Path) -> None:
    """A file is read, its layers are recognised, compiled with records, written as a library, and compared."""
    onnx = pytest.importorskip("onnx", reason="needs the extra [onnx]")
    pytest.importorskip("tvm", reason="needs the extra [compile]")
    from tests.frontends.nets import random_net
    from tophub_registry.bench.prepared import prepare
    from tophub_registry.compiler.compiler import compile_model
    from tophub_registry.frontends import read_model
    from tophub_registry.tasks.reading import layers_of

    path = tmp_path / "model.onnx"
    onnx.save(random_net(3), path)
    model = walk("frontends", lambda: read_model(path))
    found = walk("tasks", lambda: layers_of(model.module["main"]))
    assert [*found.values()] == model.layers
    compiled = walk("compiler", lambda: compile_model(model, "llvm", records=[]))
    walk("compiler", lambda: compiled.export(tmp_path / "model.so"))
    assert (tmp_path / "model.so").exists()
    assert walk("bench", lambda: prepare(str(path), tmp_path / "prepared")).framework == "ONNX Runtime"
