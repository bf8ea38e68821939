"""The history of a tuning: trials in their order, time without the breaks, and what was tried of each knob."""

import json
from pathlib import Path

import pytest

from tests.records.rows import MEASURED, row, text
from tophub_registry.errors import InputError
from tophub_registry.report.history import TaskHistory
from tophub_registry.report.reading import read_history


def write(path: Path, *rows: str) -> Path:
    path.write_text("".join(f"{row}\n" for row in rows))
    return path


def only_task(*logs: Path) -> TaskHistory:
    (task,) = read_history(logs).tasks
    return task


def test_trials_stand_in_the_order_in_which_they_were_measured_whatever_log_they_are_in(tmp_path):
    late = write(tmp_path / "late.log", text(costs=[1e-3], timestamp=MEASURED + 20, index=3))
    early = write(
        tmp_path / "early.log",
        text(costs=[3e-3], timestamp=MEASURED, index=1),
        text(costs=[2e-3], timestamp=MEASURED + 10, index=2),
    )
    task = only_task(late, early)
    assert [trial.record.config.index for trial in task.trials] == [1, 2, 3]
    assert task.best.config.index == 3


def test_breaks_and_the_time_of_other_tasks_do_not_count(tmp_path):
    log = write(
        tmp_path / "new.log",
        text(timestamp=MEASURED, index=1),  # says itself that it took 1.5 seconds
        text(timestamp=MEASURED + 10, index=2),
        text(timestamp=MEASURED + 14, index=1, channels=128),
        text(timestamp=MEASURED + 16, index=3),
        text(timestamp=MEASURED + 86400, index=4),  # the next day, resumed
    )
    first, second = read_history([log]).tasks
    assert [trial.elapsed for trial in first.trials] == [1.5, 11.5, 13.5, 15.0]
    assert [trial.elapsed for trial in second.trials] == [4.0]


def test_the_pause_before_a_run_is_resumed_does_not_count_however_short_it_is(tmp_path):
    def said(seconds, run, index):
        return text(timestamp=MEASURED + seconds, index=index, tophub={"started": MEASURED + run})

    log = write(
        tmp_path / "new.log",
        said(4, 0, index=1),  # four seconds after the run began
        said(10, 0, index=2),
        said(103, 100, index=3),  # the second run began at 100, after a pause of a minute and a half
        said(105, 100, index=4),
    )
    assert [trial.elapsed for trial in only_task(log).trials] == [4.0, 10.0, 13.0, 15.0]


def test_runs_that_went_on_side_by_side_do_not_count_each_others_time(tmp_path):
    runs = [(2, 0), (3, 1), (4, 0), (7, 1)]
    rows = [
        text(timestamp=MEASURED + at, index=index, tophub={"started": MEASURED + run})
        for index, (at, run) in enumerate(runs)
    ]
    assert only_task(write(tmp_path / "merged.log", *rows)).seconds == 2 + 2 + 2 + 4


def test_without_times_there_are_none(tmp_path):
    log = write(tmp_path / "new.log", text(timestamp=MEASURED), text(timestamp=-1, index=5, tile_ow=4))
    assert only_task(log).seconds is None
    assert only_task(write(tmp_path / "best.log", text())).seconds is None


def test_a_row_that_stands_in_two_logs_counts_once_and_is_told(tmp_path):
    log = write(tmp_path / "new.log", text(index=1), text(index=2, tile_ow=4))
    history = read_history([log, write(tmp_path / "merged.log", text(index=1))])
    assert (len(history.records), history.repeated) == (2, 1)


def test_failures_are_counted_by_kind_and_are_never_the_best(tmp_path):
    failed = [text(costs=[1e-9], error_no=number, tile_ow=ow) for number, ow in ((4, 1), (6, 2), (6, 4))]
    log = write(tmp_path / "new.log", *failed, text(costs=[5e-4], tile_ow=8))
    task = only_task(log)
    assert task.failures == {"compile timeout": 2, "run-time error": 1}
    assert task.best.mean_cost == 5e-4
    assert only_task(write(tmp_path / "failed.log", *failed)).best is None


WINOGRAD = [
    ["tile_ic", "sp", [-1, 16]],
    ["tile_oc", "sp", [-1, 1, 2, 16]],
    ["tile_size", "ot", 4],
    ["tile_rows", "ot", 7],
    ["tile_p", "ot", 7],
    ["parallel_rows", "ot", True],
]


@pytest.mark.parametrize(
    ("task", "changed", "saving"),
    [
        ("conv2d_NCHWc_winograd.x86", {}, 4),  # 144 multiplications for 16 outputs, or 36
        ("conv2d_NCHWc_winograd.x86", {"tile_size": 2}, 2.25),  # 36 for 4 outputs, or 16
        ("conv2d_NCHWc_winograd.x86", {"tile_size": "huge"}, None),  # no config of the space
        ("conv2d_nchw_winograd.arm_cpu", {}, None),  # no template here knows its tiles
    ],
)
def test_winograds_share_of_the_peak_is_that_of_the_multiplications_it_needs(task, changed, saving, tmp_path):
    fast = row(task=task, costs=[1e-4], tophub={"device": "a", "peak_gflops": 1000.0})
    fast["config"]["entity"] = [[name, kind, changed.get(name, value)] for name, kind, value in WINOGRAD]
    found = only_task(write(tmp_path / "new.log", json.dumps(fast)))
    assert found.gflops == pytest.approx(2312, rel=1e-3)  # counted as the direct computation
    assert found.saving == saving
    assert found.bound_gflops == (saving and saving * 1000)
    assert found.share == (saving and pytest.approx(2.312 / saving, rel=1e-3))


def test_the_gain_is_against_autotvms_default_config(tmp_path):
    log = write(tmp_path / "new.log", text(costs=[4e-4], tile_ow=8), text(costs=[1e-4], tile_ow=28))
    task = only_task(log)
    slowest = row(costs=[3e-4])
    slowest["config"]["entity"] = [list(knob) for knob in task.default_config]
    default = write(tmp_path / "default.log", json.dumps(slowest))
    assert only_task(log).gain is None
    assert only_task(log, default).gain == pytest.approx(3)


def test_a_device_has_the_highest_peak_that_the_logs_know(tmp_path):
    def said(channels, peak):
        known = {} if peak is None else {"peak_gflops": peak}
        return text(channels=channels, costs=[1e-3], tophub={"device": "a", "threads": 2, **known})

    log = write(tmp_path / "new.log", said(64, 400.0), said(32, 500.0), said(16, None))
    assert {task.peak_gflops for task in read_history([log]).tasks} == {500.0}
    first = read_history([log]).tasks[0]
    assert first.share == pytest.approx(2 * 64 * 64 * 9 * 56 * 56 / 1e-3 / 1e9 / 500)
    assert only_task(write(tmp_path / "old.log", text())).share is None


def test_each_knob_tells_which_options_were_tried_how_often_and_how_good_they_were(tmp_path):
    log = write(
        tmp_path / "new.log",
        text(tile_ow=8, costs=[3e-3], index=1),
        text(tile_ow=8, costs=[1e-3], index=2),
        text(tile_ow=8, costs=[1e9], error_no=4, index=3),
        text(tile_ow=7, costs=[5e-4], index=4).replace('["tile_ow", "sp", [-1, 7]]', '["tile_ow", "sp", [8, 7]]'),
        text(tile_ow=7, costs=[6e-4], index=5),
    )
    knobs = {knob.name: knob for knob in only_task(log).knobs}
    assert list(knobs) == ["tile_ic", "tile_oc", "tile_ow", "unroll_kw"]
    seven, eight = knobs["tile_ow"].options
    assert (seven.tried, seven.failed, seven.best) == (2, 0, 5e-4)  # -1 and 8 parts are the same
    assert (eight.tried, eight.failed, eight.best, eight.median) == (3, 1, 1e-3, 2e-3)
    assert knobs["unroll_kw"].total == 2


def test_a_task_that_no_template_knows_has_no_default_and_a_space_of_unknown_size(tmp_path):
    task = only_task(write(tmp_path / "new.log", text(task="conv2d_nchw_spatial_pack.arm_cpu")))
    assert (task.default, task.configs, task.knobs[0].total) == (None, None, None)
    assert task.gflops is not None


def test_arguments_that_do_not_fit_the_template_and_endless_axes_are_taken_as_they_are(tmp_path):
    odd = text().replace('["TENSOR", [64, 64, 3, 3], "float32"]', "7")
    long = text(channels=(1 << 31) - 64)
    assert [task.configs for task in read_history([write(tmp_path / "odd.log", odd, long)]).tasks] == [None, None]


def test_a_log_without_a_record_is_an_error(tmp_path):
    with pytest.raises(InputError, match="no record"):
        read_history([write(tmp_path / "empty.log", "# nothing yet")])
