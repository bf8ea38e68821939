"""`tophub learn`, and what `release` and `compile` do with its cost model."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cost_model.trials import TARGET, convolution, taught
from tests.registries import write_rows
from tophub_registry.cli import main
from tophub_registry.compiler.search import RecordSearch
from tophub_registry.packages.folder import read_index
from tophub_registry.packages.sources import Sources
from tophub_registry.records.log import write_log
from tophub_registry.records.lookup import Source
from tophub_registry.records.record import workload_key


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_log("trials.log", taught())


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[object, str, str]:
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    output = capsys.readouterr()
    return caught.value.code or 0, output.out, output.err


LEARN = ("learn", "trials.log", "-o", "mine.model.json")


def test_a_model_is_learned_and_never_overwritten_unasked(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, *LEARN)
    assert (code, out) == (0, "conv2d_nchw.cuda: 300 trials of 5 workloads\nmine.model.json\n")
    before = Path("mine.model.json").read_bytes()
    code, _, err = run(capsys, *LEARN)
    assert code == 2
    assert "mine.model.json: the cost model already exists (--force overwrites it)" in err
    code, out, _ = run(capsys, *LEARN, "--force", "--json")
    assert json.loads(out)["tasks"] == {"conv2d_nchw.cuda": {"workloads": 5, "trials": 300}}
    assert Path("mine.model.json").read_bytes() == before


def test_logs_without_trials_of_the_target_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    code, _, err = run(capsys, *LEARN, "--target", "llvm")
    assert code == 2
    assert "no task has trials of two workloads for llvm" in err
    assert not Path("mine.model.json").exists()


def test_a_release_publishes_the_model_if_clients_can_read_it(capsys: pytest.CaptureFixture[str]) -> None:
    run(capsys, *LEARN)
    write_rows(Path("cuda.log"), 3)
    code, out, _ = run(capsys, "release", "cuda", "cuda.log", "--registry", "mine", "--model", "mine.model.json")
    assert code == 0
    assert ", with a cost model of " in out
    assert Path("mine/cuda_v0.01.model.json").read_bytes() == Path("mine.model.json").read_bytes()
    write_rows(Path("llvm.log"), 3)
    code, _, err = run(capsys, "release", "llvm", "llvm.log", "--registry", "mine", "--model", "mine.model.json")
    assert code == 1
    assert "mine.model.json: the cost model is for cuda, not for llvm" in err
    index = read_index(Path("mine"))
    assert index is not None
    assert [*index.packages] == ["cuda"]
    # A package is not always named after its kind of target.
    write_rows(Path("jetson.log"), 3, target="cuda -device=jetson")
    assert run(capsys, "release", "jetson", "jetson.log", "--registry", "mine", "--model", "mine.model.json")[0] == 0


def found(log: str) -> tuple[RecordSearch, list[bool]]:
    """Look up the neighbours of a new workload in a log; return whether a cost model chose them."""
    search = RecordSearch(TARGET, Sources((Source("a log", Path(log)),), ()))
    new = convolution(80, 28)
    _, neighbourhood = search.find([workload_key(new.task, new.args, {})])
    return search, [its.predicted for its in neighbourhood.of(new, TARGET)]


def test_compiling_uses_the_model_beside_a_log(capsys: pytest.CaptureFixture[str]) -> None:
    write_log("mine.log", taught())
    search, predicted = found("mine.log")
    assert (predicted, search.notices) == ([False], [])
    run(capsys, *LEARN)
    search, predicted = found("mine.log")
    assert (predicted, search.notices) == ([True], [])


def test_compiling_goes_on_without_a_damaged_model() -> None:
    write_log("mine.log", taught())
    Path("mine.model.json").write_text("{")
    search, predicted = found("mine.log")
    assert predicted == [False]
    (notice,) = search.notices
    assert "mine.model.json: the cost model is damaged: " in str(notice)
    assert "compiling works without it" in str(notice)
