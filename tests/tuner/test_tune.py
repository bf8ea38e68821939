"""The tuning loop on a real processor: rows on disk, nothing measured twice, resumed after an interruption."""

import pytest

pytest.importorskip("tvm", reason="needs the extra [tune]")

from tophub_registry.devices.device import resolve
from tophub_registry.errors import InputError, UsageError
from tophub_registry.measurement.measure import Measurer
from tophub_registry.records.log import read_records
from tophub_registry.records.task import Task, tensor
from tophub_registry.templates.registry import template_class
from tophub_registry.templates.x86 import simd_lanes
from tophub_registry.tuner.tune import Plan, supported, tune
from tophub_registry.tuner.warm_start import Experience


def dense(batch, in_units, out_units):
    args = [tensor([batch, in_units]), tensor([out_units, in_units]), None, "float32"]
    return Task(task="dense_nopack.x86", args=args)


TASKS = [dense(1, 32, 12), dense(2, 16, 10)]


@pytest.fixture(scope="module")
def target():
    return resolve("llvm")


@pytest.fixture(scope="module")
def measurer(target):
    with Measurer(target) as measurer:
        yield measurer


@pytest.fixture
def log(tmp_path):
    return tmp_path / "new.log"


def measured(log):
    return [(record.workload, record.config.index) for record in read_records(log)]


@pytest.mark.slow
def test_every_task_gets_its_trials_and_every_row_is_a_record(measurer, target, log):
    outcomes = tune(TASKS, target, log, measurer, Plan(trials=10, batch=4))
    assert [outcome.trials for outcome in outcomes] == [10, 10]
    rows = measured(log)
    assert len(rows) == len(set(rows)) == 20
    for record in read_records(log):
        assert record.input.target == str(target)
        assert "-mcpu=" in record.input.target
        assert record.valid
        assert len(record.result.costs) in (1, 3)
        assert record.tophub.device
        assert record.tophub.threads >= 1
        assert record.tophub.tuner.startswith("tophub-registry")
    assert all(0 < outcome.best <= outcome.default < 1 for outcome in outcomes)


def test_the_default_config_is_measured_first(measurer, target, log):
    tune(TASKS[:1], target, log, measurer, Plan(trials=3, batch=2))
    first = next(read_records(log)).config
    assert [first.value(name)[-1] for name in ("tile_y", "tile_x")] == [1, 1]


def test_a_small_space_is_measured_once_and_as_a_whole(measurer, target, log):
    (outcome,) = tune([dense(1, 4, 4)], target, log, measurer, Plan(trials=1000))
    assert outcome.trials == outcome.planned == 9
    assert len(set(measured(log))) == 9


def test_a_task_whose_kernels_the_device_can_not_run_gets_no_trials(measurer, target, log, monkeypatch):
    monkeypatch.setattr(template_class(TASKS[0].task), "runs_on", lambda *_: False)
    outcomes = tune(TASKS[:1], target, log, measurer, Plan(trials=3))
    assert [outcome.trials for outcome in outcomes] == [0]
    assert not measured(log)


def test_an_existing_log_is_not_touched_without_resume(measurer, target, log):
    log.write_text("# mine\n")
    with pytest.raises(UsageError, match="--resume"):
        tune(TASKS, target, log, measurer)
    assert log.read_text() == "# mine\n"


def test_resume_measures_only_what_is_missing(measurer, target, log):
    tune(TASKS[:1], target, log, measurer, Plan(trials=6))
    before = log.read_text()
    with log.open("a") as stream:
        stream.write('{"input": ["llvm -mcpu=')  # as a crash in the middle of a row leaves it
    outcomes = tune(TASKS, target, log, measurer, Plan(trials=12), resume=True)
    assert log.read_text().startswith(before)
    assert [outcome.trials for outcome in outcomes] == [12, 12]
    rows = measured(log)
    assert len(rows) == len(set(rows)) == 24


def test_resume_knows_the_best_of_the_log(measurer, target, log):
    (first,) = tune(TASKS[:1], target, log, measurer, Plan(trials=12))
    (again,) = tune(TASKS[:1], target, log, measurer, Plan(trials=12), resume=True)
    assert (again.best, again.default) == (first.best, first.default)
    assert len(measured(log)) == 12


def test_another_targets_records_do_not_count(measurer, target, log):
    tune(TASKS[:1], target, log, measurer, Plan(trials=4))
    log.write_text(log.read_text().replace("-mcpu=", "-mtriple=riscv64 -mcpu="))
    tune(TASKS[:1], target, log, measurer, Plan(trials=4), resume=True)
    assert len(measured(log)) == 8


def test_a_damaged_log_is_an_error_and_stays_as_it_is(measurer, target, log):
    log.write_text("nonsense\n")
    with pytest.raises(InputError, match=r"new\.log:1"):
        tune(TASKS, target, log, measurer, resume=True)
    assert log.read_text() == "nonsense\n"


def test_a_task_ends_early_when_nothing_better_comes(measurer, target, log):
    (outcome,) = tune(TASKS[:1], target, log, measurer, Plan(trials=36, batch=1, early_stopping=5, search="grid"))
    assert outcome.trials < 36


def test_progress_is_told_after_every_config(measurer, target, log):
    told = []
    tune(TASKS[:1], target, log, measurer, Plan(trials=5, batch=3), progress=told.append)
    assert [outcome.trials for outcome in told] == [0, 1, 2, 3, 4, 5, 5]
    assert [outcome.done for outcome in told] == [False] * 6 + [True]


def test_tasks_without_a_template_are_told_apart():
    other = Task(task="conv3d_ndhwc.x86", args=[])
    assert supported([TASKS[0], other]) == ([TASKS[0]], [other])


def test_nothing_to_tune_is_an_error(measurer, target, log):
    with pytest.raises(UsageError, match="no tasks to tune"):
        tune([], target, log, measurer)
    assert not log.exists()


@pytest.mark.slow
def test_knobs_can_be_held_fixed(measurer, target, log):
    (outcome,) = tune(TASKS[:1], target, log, measurer, Plan(trials=99, where={"tile_k": 8}))
    assert outcome.trials == 6
    assert {record.config.value("tile_k")[-1] for record in read_records(log)} == {8}
    whole = {record.config.index for record in read_records(log)}
    tune(TASKS[:1], target, log, measurer, Plan(trials=99), resume=True)
    assert whole < {record.config.index for record in read_records(log)}
    assert len(measured(log)) == len(set(measured(log))) == 36


@pytest.mark.slow
@pytest.mark.parametrize(("where", "ins"), [({}, None), ({"tile_ic": 24}, 24)])
def test_channels_that_fill_vectors_are_tuned_in_vectors(measurer, target, log, where, ins):
    args = [tensor([1, 96, 7, 7]), tensor([64, 96, 1, 1]), [1, 1], [0, 0, 0, 0], [1, 1], "NCHW", "NCHW", "float32"]
    tune([Task(task="conv2d_NCHWc_pointwise.x86", args=args)], target, log, measurer, Plan(trials=6, where=where))
    blocks = {(record.config.value("tile_ic")[-1], record.config.value("tile_oc")[-1]) for record in read_records(log)}
    lanes = simd_lanes(target)
    assert blocks <= {(ins or lanes, lanes), (lanes, lanes)}  # the default, which is measured first, has vectors
    assert (ins or lanes, lanes) in blocks


@pytest.mark.timed
def test_a_total_is_spent_where_it_pays_most(measurer, target, log):
    light, heavy = dense(1, 32, 12), dense(8, 512, 512)
    outcomes = tune([light, heavy], target, log, measurer, Plan(trials=40, total=40, batch=4))
    few, many = (outcome.trials for outcome in outcomes)
    assert 4 <= few < many
    assert few + many == len(set(measured(log))) == 40
    assert all(outcome.done for outcome in outcomes)


def test_a_total_counts_what_the_log_holds(measurer, target, log):
    tasks = [dense(1, 32, 12), dense(2, 64, 48)]
    tune(tasks, target, log, measurer, Plan(trials=40, total=12, batch=4))
    before = log.read_text()
    tune(tasks, target, log, measurer, Plan(trials=40, total=12, batch=4), resume=True)
    assert log.read_text() == before
    outcomes = tune(tasks, target, log, measurer, Plan(trials=40, total=20, batch=4), resume=True)
    assert sum(outcome.trials for outcome in outcomes) == len(set(measured(log))) == 20


def test_what_another_device_found_is_tried_after_the_default(measurer, target, log, tmp_path):
    task = TASKS[0]
    tune([task], target, tmp_path / "old.log", measurer, Plan(trials=8, search="random", seed=5))
    old = (tmp_path / "old.log").read_text().replace(str(target), "llvm -mcpu=core-avx2")
    (tmp_path / "old.log").write_text(old)
    best = min(read_records(tmp_path / "old.log"), key=lambda record: min(record.result.costs)).config
    experience = Experience.read([tmp_path / "old.log"], [task], "llvm", pytest.fail)
    tune([task], target, log, measurer, Plan(trials=6), experience=experience)
    first, second, *_ = (record.config for record in read_records(log))
    assert best.index in (first.index, second.index)
