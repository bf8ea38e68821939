"""What changed between logs, what they hold, and what stands behind it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from tests.records.rows import MEASURED, text
from tests.records.test_conversion import CONV, old_row
from tophub_registry.records.audit import audit
from tophub_registry.records.diff import compare
from tophub_registry.records.flops import flop
from tophub_registry.records.log import read_records
from tophub_registry.records.summary import summarise
from tophub_registry.records.task import describe

if TYPE_CHECKING:
    from pathlib import Path

UNKNOWN = json.dumps(old_row("hexagon", "topi_nn_conv2d", "direct", CONV))


def write(path: Path, *lines: str) -> Path:
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return path


def test_what_changed(tmp_path: Path) -> None:
    before = write(
        tmp_path / "before.log",
        text(channels=1, costs=[0.004]),
        text(channels=2, costs=[0.004]),
        text(channels=3, costs=[0.002], tile_ow=8),
        text(channels=4, costs=[0.001]),
        text(channels=5, costs=[0.001], target="llvm -mcpu=a -model=b"),
        text(channels=5, costs=[0.9]),
        UNKNOWN,
    )
    after = write(
        tmp_path / "after.log",
        text(channels=1, costs=[0.001]),
        text(channels=2, costs=[0.008]),
        text(channels=3, costs=[0.002], tile_ow=4),
        text(channels=5, costs=[0.001], target="llvm -model=b -mcpu=a", tophub={"device": "x"}),
        text(channels=6, costs=[0.001]),
        text(channels=6, costs=[1e9], error_no=4),
    )
    comparison = compare(before, after)
    found = {json.loads(d.workload)[1][0][1][1]: (d.kind, d.before, d.after, d.speedup) for d in comparison.differences}
    assert found == {
        1: ("faster", 0.004, 0.001, 4.0),
        2: ("slower", 0.004, 0.008, 0.5),
        3: ("changed", 0.002, 0.002, 1.0),
        4: ("removed", 0.001, None, None),
        5: ("removed", 0.9, None, None),
        6: ("added", None, 0.001, None),
    }
    assert (comparison.same, comparison.unconvertible) == (1, 1)
    assert compare(before, before).differences == ()


def test_a_family_among_the_keys_makes_no_difference(tmp_path: Path) -> None:
    plain, keyed = "llvm -mcpu=znver4", "llvm -keys=x86-64-v4,cpu -mcpu=znver4"
    one = write(tmp_path / "one.log", text(target=plain), text(target="llvm -device=arm_cpu -keys=arm_cpu,cpu"))
    other = write(tmp_path / "other.log", text(target=keyed), text(target="llvm -device=arm_cpu -keys=arm_cpu"))
    assert (compare(one, other).same, compare(one, other).differences) == (2, ())


def test_logs_without_a_target_in_common_are_compared_within_a_backend(tmp_path: Path) -> None:
    """The best record of a backend's workload, whatever its target."""
    mine = write(
        tmp_path / "mine.log",
        text(channels=1, costs=[0.002], target="llvm -mcpu=znver3"),
        text(channels=2, costs=[0.002], target="llvm -mcpu=znver3"),
        text(channels=1, costs=[0.001], target="cuda -model=a"),
    )
    package = write(
        tmp_path / "package.log",
        text(channels=1, costs=[0.001], target="llvm -mcpu=znver4"),
        text(channels=1, costs=[0.004], target="llvm -mcpu=skylake"),
        text(channels=3, costs=[0.001], target="llvm -mcpu=skylake"),
    )
    comparison = compare(mine, package)
    assert comparison.by == "backend"
    found = {(d.kind, d.target, d.speedup) for d in comparison.differences}
    assert found == {
        ("removed", "cuda -model=a", None),
        ("faster", "llvm -mcpu=znver3 → llvm -mcpu=znver4", 2.0),
        ("removed", "llvm -mcpu=znver3", None),
        ("added", "llvm -mcpu=skylake", None),
    }
    by_target = compare(mine, package, by="target")
    assert {d.kind for d in by_target.differences} == {"added", "removed"}
    assert compare(package, package).by == "target"
    assert compare(package, package, by="backend").differences == ()


def test_upstreams_update_was_one_record(upstream: Path) -> None:
    comparison = compare(upstream / "cuda_v0.05.log", upstream / "cuda_v0.06.log")
    (difference,) = comparison.differences
    assert (difference.kind, difference.target, comparison.same) == ("added", "cuda -model=v100", 682)
    assert difference.task == "conv2d_transpose_nchw.cuda 1x512x1x128 512x1x1x512 /1,128"


@pytest.mark.parametrize("pair", [("cuda_v0.07", "cuda_v0.08"), ("arm_cpu_v0.05", "arm_cpu_v0.06")])
def test_both_log_versions_say_the_same(upstream: Path, pair: tuple[str, str]) -> None:
    assert compare(*(upstream / f"{name}.log" for name in pair)).differences == ()


def test_what_logs_hold(tmp_path: Path) -> None:
    one = write(
        tmp_path / "one.log",
        text(channels=64, costs=[0.001]),
        text(channels=64, costs=[0.002], timestamp=MEASURED + 86400),
        text(channels=128, costs=[1e9], error_no=4),
        text(channels=64, costs=[0.004], timestamp=-1, tophub={"tuner": "tophub-registry 1.0 random"}),
    )
    other = write(tmp_path / "other.log", text(target="cuda", task="nobody.knows"), UNKNOWN)
    summary = summarise([one, other])
    assert summary.unconvertible == 1
    unknown, group = summary.groups
    assert (unknown.task, unknown.best_gflops, unknown.median_gflops) == ("nobody.knows", None, None)
    assert (group.target, group.task) == ("llvm -mcpu=znver4", "conv2d_NCHWc.x86")
    assert (group.workloads, group.records, group.failed) == (2, 3, 1)
    record = next(iter(read_records(one)))
    operations = flop(record.input.task, record.input.args)
    assert operations is not None
    assert group.best_gflops == operations / 0.001 / 1e9
    assert group.median_gflops == operations / 0.002 / 1e9
    assert (group.oldest, group.newest) == (MEASURED, MEASURED + 86400)
    assert group.tools == ("AutoTVM (TVM 0.27.0)", "tophub-registry 1.0 random")


def test_the_ledger(tmp_path: Path) -> None:
    ours = {"device": "AMD EPYC", "tuner": "tophub-registry 1.0 random", "revalidated": "2026-06-01"}
    log = write(
        tmp_path / "new.log",
        text(channels=1, costs=[0.001, 0.003], tophub=ours),
        text(channels=1, costs=[0.001, 0.003], tophub=ours),
        text(channels=1, costs=[0.005]),
        text(channels=2, costs=[0.001], timestamp=0),
        text(channels=3, costs=[1e9], error_no=1),
        json.dumps(old_row("cuda", "topi_nn_conv2d", "direct", CONV)),
        UNKNOWN,
    )
    ledger = audit([log])
    assert (ledger.workloads, ledger.unconvertible) == (3, 1)
    cuda, llvm = ledger.entries
    assert (cuda.target, cuda.converted, cuda.tools) == ("cuda", 1, {"AutoTVM (log version 0.1)": 1})
    assert (cuda.oldest, cuda.newest) == (1535423916.7, 1535423916.7)
    assert (llvm.records, llvm.failed, llvm.duplicates, llvm.runners_up) == (4, 1, 1, 1)
    assert (llvm.workloads, llvm.coverage) == (2, 2 / 3)
    assert (llvm.oldest, llvm.newest, llvm.undated) == (MEASURED, MEASURED, 1)
    assert llvm.devices == {"AMD EPYC": 2}
    assert llvm.tools == {"tophub-registry 1.0 random": 2, "AutoTVM (TVM 0.27.0)": 2}
    assert (llvm.converted, llvm.revalidated, llvm.single) == (0, 2, 2)
    assert llvm.median_spread == llvm.worst_spread == pytest.approx(2**0.5 / 2)


def test_nothing_to_report(tmp_path: Path) -> None:
    empty = write(tmp_path / "empty.log", "# nothing")
    assert summarise([empty]).groups == ()
    assert (audit([empty]).workloads, audit([empty]).entries) == (0, ())
    assert compare(empty, empty).differences == ()


def test_workloads_are_named_for_people_whatever_their_arguments() -> None:
    tensor = ["TENSOR", [1, 64, 56, 56], "float32"]
    assert describe("conv2d_nchw.cuda", [tensor, tensor, [2, 2]]) == "conv2d_nchw.cuda 1x64x56x56 1x64x56x56 /2"
    assert describe("conv2d_nchw.cuda", [tensor, tensor, 1]) == "conv2d_nchw.cuda 1x64x56x56 1x64x56x56"
    last, kernel = ["TENSOR", [8, 56, 56, 64], "float16"], ["TENSOR", [3, 3, 64, 128], "float16"]
    window = [[1, 1], [1, 1, 1, 1], [1, 1], "float16"]
    named = describe("conv2d_nhwc_tensorcore.cuda", [last, kernel, *window])
    assert named == "conv2d_nhwc_tensorcore.cuda 8x56x56x64 3x3x64x128"
    odd = [["TENSOR"], ["TENSOR", 3, 4], []]
    assert describe("conv2d_nchw.cuda", odd) == f"conv2d_nchw.cuda {json.dumps(odd)}"
    assert describe("odd", []) == "odd"
    offset = ["TENSOR", [1, 18, 56, 56], "float32"]
    deformable = [tensor, offset, ["TENSOR", [64, 64, 3, 3], "float32"], [2, 2], [1, 1], [1, 1], 1, 1, "float32"]
    assert describe("deformable_conv2d_nchw.cuda", deformable).endswith(" 1x18x56x56 64x64x3x3 /2")
    # No stride is read out of arguments that nobody knows.
    tutorial = [1, 28, 28, 128, 256, 3, 3, [1, 1], [1, 1]]
    assert describe("tutorial/conv2d", tutorial) == f"tutorial/conv2d {json.dumps(tutorial)}"


def test_two_workloads_have_two_names() -> None:
    tensor, kernel = ["TENSOR", [1, 64, 56, 56], "float32"], ["TENSOR", [64, 64, 3, 3], "float32"]
    windows = [
        ([1, 1], [1, 1, 1, 1], [1, 1]),
        ([1, 1], [0, 0, 0, 0], [1, 1]),
        ([1, 1], [0, 1, 1, 0], [1, 1]),
        ([1, 1], [2, 2, 2, 2], [2, 2]),
        ([2, 2], [1, 1, 1, 1], [1, 1]),
        ([2, 1], [1, 1, 1, 1], [1, 1]),
    ]
    names = [describe("conv2d_nchw.cuda", [tensor, kernel, *window, "float32"]) for window in windows]
    start = "conv2d_nchw.cuda 1x64x56x56 64x64x3x3"
    ends = ["", " pad 0", " pad 0,1,1,0", " pad 2 dilated 2", " /2", " /2,1"]
    assert names == [start + end for end in ends]
