"""Merging files: what is written, and that nothing else is."""

from __future__ import annotations

import gzip
import json
from typing import TYPE_CHECKING

import pytest

from tests.records.rows import MEASURED, row, text
from tophub_registry.errors import InputError, UsageError
from tophub_registry.records.log import read_records, read_rows, write_log
from tophub_registry.records.merge import Change, Dropped, merge_logs
from tophub_registry.records.rows import MAX_LINE

if TYPE_CHECKING:
    from pathlib import Path


def log(path: Path, *lines: str) -> Path:
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return path


def costs(path: Path) -> list[float]:
    return [record.mean_cost for record in read_records(path)]


def test_the_best_of_each_workload(tmp_path: Path) -> None:
    old = log(
        tmp_path / "old.log",
        "# made by hand",
        text(channels=64, costs=[0.004]),
        text(channels=128, costs=[0.002]),
        text(channels=256, costs=[0.001]),
    )
    new = log(
        tmp_path / "new.log",
        "# made by hand",
        "# tuned",
        text(channels=64, costs=[0.003]),
        text(channels=64, costs=[1e9], error_no=4),
        text(channels=128, costs=[0.005]),
        text(channels=256, costs=[0.001]),
        text(channels=512, costs=[0.009], timestamp=-1),
    )
    report = merge_logs(old, [new], tmp_path / "merged.log")

    rows = list(read_rows(tmp_path / "merged.log"))
    assert [line.comment for line in rows[:2]] == ["# made by hand", "# tuned"]
    assert {record.input.args[0][1][1]: record.mean_cost for record in read_records(tmp_path / "merged.log")} == {
        64: 0.003,
        128: 0.002,
        256: 0.001,
        512: 0.009,
    }
    assert (report.read, report.written) == (8, 4)
    assert (report.added, report.improved, report.kept) == (1, 1, 2)
    assert report.dropped == Dropped(worse=2, failed=1, duplicate=1)
    assert (report.comments, report.comments_repeated, report.implausible_times) == (2, 1, 1)
    assert [(change.before, change.after) for change in report.changes] == [(None, 0.009), (0.004, 0.003)]


def test_what_was_measured_with_cold_weights_replaces_what_was_not(tmp_path: Path) -> None:
    cached = log(tmp_path / "cached.log", text(costs=[1e-5]))
    cold = log(tmp_path / "cold.log", text(costs=[3e-5], tophub={"weights": "cold"}))
    for number, (old, new) in enumerate([(cached, cold), (cold, cached)]):
        report = merge_logs(old, [new], tmp_path / f"{number}.log", min_gain=50)
        assert costs(tmp_path / f"{number}.log") == [3e-5]
        assert (report.improved, report.dropped.worse) == (1 - number, 1)


def test_a_target_is_the_same_in_any_order(tmp_path: Path) -> None:
    old = log(tmp_path / "old.log", text(target="llvm -target=x -mcpu=y", costs=[0.002]))
    new = log(tmp_path / "new.log", text(target="llvm -mcpu=y -mtriple=x", costs=[0.001]))
    report = merge_logs(old, [new], tmp_path / "merged.log")
    assert costs(tmp_path / "merged.log") == [0.001]
    (change,) = report.changes
    assert change == Change("llvm -mcpu=y -mtriple=x", change.workload, 0.002, 0.001)
    assert json.loads(change.workload)[0] == "conv2d_NCHWc.x86"


def test_runners_up_are_kept_in_the_order_of_their_costs(tmp_path: Path) -> None:
    old = log(tmp_path / "old.log", *(text(costs=[cost]) for cost in (0.005, 0.001, 0.003)))
    new = log(tmp_path / "new.log", *(text(costs=[cost]) for cost in (0.002, 0.004, 0.001)))
    report = merge_logs(old, [new], tmp_path / "3.log", keep=3)
    assert costs(tmp_path / "3.log") == [0.001, 0.002, 0.003]
    assert (report.kept, report.added, report.dropped) == (2, 1, Dropped(worse=2, duplicate=1))
    merge_logs(old, [new], tmp_path / "all.log", keep=None)
    assert costs(tmp_path / "all.log") == [0.001, 0.002, 0.003, 0.004, 0.005]


@pytest.mark.parametrize(
    ("before", "after", "replaced"),
    [
        ([0.100], [0.095], False),
        ([0.100], [0.089], True),
        ([0.100, 0.101, 0.099], [0.080, 0.081, 0.079], True),
        ([0.100, 0.130, 0.070], [0.080, 0.110, 0.050], False),
        ([0.100, 0.130, 0.070], [0.080], True),
        ([0.100], [0.100], False),
        ([0.100], [0.120], False),
    ],
)
def test_a_minimal_gain(tmp_path: Path, before: list[float], after: list[float], replaced: bool) -> None:
    old = log(tmp_path / "old.log", text(costs=before, tile_ow=8))
    new = log(tmp_path / "new.log", text(costs=after, tile_ow=7))
    report = merge_logs(old, [new], tmp_path / "merged.log", min_gain=10)
    (record,) = read_records(tmp_path / "merged.log")
    assert record.result.costs == (after if replaced else before)
    assert report.improved == replaced
    assert report.dropped.small_gain == (not replaced and sum(after) <= sum(before))


def test_upstreams_next_version(upstream: Path, tmp_path: Path) -> None:
    old, new = upstream / "intel_graphics_v0.02.log", upstream / "llvm_v0.04.log"
    report = merge_logs(old, [new], tmp_path / "merged.log")
    assert (report.read, report.written, report.added, report.kept) == (108, 78, 35, 43)
    assert report.dropped == Dropped(duplicate=30)
    assert report.comments == 3


def test_gzip_and_a_last_line_without_its_break(tmp_path: Path) -> None:
    old = tmp_path / "old.log.gz"
    old.write_bytes(gzip.compress(text().encode()))
    report = merge_logs(old, [old], tmp_path / "merged.log")
    assert (report.written, report.dropped) == (1, Dropped(duplicate=1))


def test_a_broken_row_stops_the_merge_and_nothing_is_written(tmp_path: Path) -> None:
    old = log(tmp_path / "old.log", text())
    for broken in (text()[:99], text(costs=[-1.0]), "nonsense"):
        new = log(tmp_path / "new.log", text(), broken)
        with pytest.raises(InputError) as caught:
            merge_logs(old, [new], tmp_path / "merged.log")
        assert (caught.value.file, caught.value.line) == (str(new), 2)
    with pytest.raises(InputError, match="no such file"):
        merge_logs(old, [tmp_path / "missing.log"], tmp_path / "merged.log")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["new.log", "old.log"]


def test_a_torn_last_row_is_called_so(tmp_path: Path) -> None:
    new = tmp_path / "new.log"
    new.write_text(f"{text()}\n{text()[:99]}", encoding="utf-8")
    with pytest.raises(InputError, match="the last row was cut short"):
        merge_logs(new, [], tmp_path / "merged.log")


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    old, merged = log(tmp_path / "old.log", text()), log(tmp_path / "merged.log", "# mine")
    with pytest.raises(UsageError):
        merge_logs(old, [old], merged)
    assert merged.read_text(encoding="utf-8") == "# mine\n"


@pytest.mark.parametrize("options", [{"keep": 0}, {"keep": -1}, {"min_gain": -1.0}, {"min_gain": 100.0}])
def test_what_makes_no_sense_is_refused(tmp_path: Path, options: dict[str, float]) -> None:
    with pytest.raises(UsageError):
        merge_logs(log(tmp_path / "old.log", text()), [], tmp_path / "merged.log", **options)  # type: ignore[arg-type]


def test_memory_grows_with_the_workloads_and_not_with_the_file(tmp_path: Path) -> None:
    import tracemalloc

    def peak(rows: int, attempt: int) -> int:
        path, merged = tmp_path / f"{rows}_{attempt}.log", tmp_path / f"merged_{rows}_{attempt}.log"
        log(path, *(text(costs=[0.001 + number / 1e6], timestamp=MEASURED + number) for number in range(rows)))
        tracemalloc.start()
        try:
            merge_logs(path, [], merged)
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    def least(rows: int) -> int:  # other threads of the process allocate at times
        return min(peak(rows, attempt) for attempt in range(3))

    peak(10, 0)
    assert least(3000) < least(300) + 20_000


def test_progress_is_told_in_bytes_of_the_file(tmp_path: Path) -> None:
    path = log(tmp_path / "long.log", *(text(costs=[cost]) for cost in (0.1, 0.2)), *("# x" for _ in range(12_000)))
    told: list[tuple[Path, int]] = []
    merge_logs(path, [], tmp_path / "merged.log", progress=lambda file, done: told.append((file, done)))
    assert [file for file, _ in told] == [path, path]
    assert 0 < told[0][1] < told[1][1] <= path.stat().st_size


@pytest.mark.parametrize("filling", ["é" * 20_000, [1] * 30_000, [1e15] * 10_000])
def test_a_row_that_would_be_written_too_long_is_not_read(tmp_path: Path, filling: object) -> None:
    value = json.dumps(row(tophub={"x": filling}), ensure_ascii=False, separators=(",", ":"))
    value = value.replace("1000000000000000.0", "1e15")
    assert len(value.encode()) < MAX_LINE
    with pytest.raises(InputError, match="longer than"):
        merge_logs(log(tmp_path / "old.log", value), [], tmp_path / "merged.log")


def test_the_merged_log_reads_back(tmp_path: Path) -> None:
    old = log(tmp_path / "old.log", "# é", text(tophub={"device": "é"}))
    merge_logs(old, [], tmp_path / "merged.log")
    rows = list(read_rows(tmp_path / "merged.log"))
    write_log(tmp_path / "again.log", (line.comment or line.record for line in rows))  # type: ignore[misc]
    assert (tmp_path / "again.log").read_bytes() == (tmp_path / "merged.log").read_bytes()
