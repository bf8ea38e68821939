"""Log version 0.1 to 0.2 and back: upstream's own pairs, every rule once, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.records.rows import record
from tophub_registry.errors import InputError
from tophub_registry.records.conversion import to_new, to_old
from tophub_registry.records.conversion_rules import RULES
from tophub_registry.records.convert import convert_log
from tophub_registry.records.log import read_records, read_rows
from tophub_registry.records.rows import parse_old_row, parse_record
from tophub_registry.records.unconvertible import NoConversionError

PAIRS = [
    ("cuda_v0.07", "cuda_v0.08"),
    ("arm_cpu_v0.05", "arm_cpu_v0.06"),
    ("intel_graphics_v0.01", "intel_graphics_v0.02"),
    ("llvm_v0.01", "llvm_v0.04"),
]


def values(path: Path) -> list[dict[str, Any]]:
    """Return the rows as JSON values, without what a conversion may add or can't know."""
    lines = path.read_text().splitlines()
    rows = [json.loads(line) for line in lines if line and not line.startswith("#")]
    return [{key: value for key, value in row.items() if key not in ("tophub", "tvm_version")} for row in rows]


def comments(path: Path) -> list[str]:
    return [line for line in path.read_text().splitlines() if line.startswith("#")]


@pytest.mark.parametrize(("old", "new"), PAIRS)
def test_upstreams_pairs_and_back_again(upstream: Path, tmp_path: Path, old: str, new: str) -> None:
    first, second = upstream / f"{old}.log", upstream / f"{new}.log"
    report = convert_log(first, tmp_path / "new.log")
    assert (report.converted, report.unconvertible) == (len(values(first)), 0)
    assert values(tmp_path / "new.log") == values(second)
    assert comments(tmp_path / "new.log") == comments(first)
    convert_log(tmp_path / "new.log", tmp_path / "old.log", to=0.1)
    assert values(tmp_path / "old.log") == values(first)
    assert comments(tmp_path / "old.log") == comments(first)


@pytest.mark.parametrize(("old", "new"), PAIRS[:3])
def test_upstreams_own_conversion_goes_back_too(upstream: Path, tmp_path: Path, old: str, new: str) -> None:
    convert_log(upstream / f"{new}.log", tmp_path / "old.log", to=0.1)
    assert values(tmp_path / "old.log") == values(upstream / f"{old}.log")


@pytest.mark.parametrize("name", ["cuda_v0.01", "cuda_v0.05", "cuda_v0.06"])
def test_what_upstream_never_converted(upstream: Path, tmp_path: Path, name: str) -> None:
    assert convert_log(upstream / f"{name}.log", tmp_path / "new.log").unconvertible == 0
    convert_log(tmp_path / "new.log", tmp_path / "old.log", to=0.1)
    assert values(tmp_path / "old.log") == values(upstream / f"{name}.log")


@pytest.mark.parametrize("name", ["vta_v0.05", "vta_v0.06"])
def test_what_nobody_knows_is_left_out_and_said(upstream: Path, tmp_path: Path, name: str) -> None:
    path = upstream / f"{name}.log"
    report = convert_log(path, tmp_path / "new.log")
    assert report.converted + report.unconvertible == report.read == len(values(path))
    assert len(report.left_out) == report.unconvertible > 0
    lines = path.read_text().splitlines()
    assert all("-device=vta" in lines[row.line - 1] for row in report.left_out)
    assert all("-device=vta" in row.reason for row in report.left_out)
    assert comments(tmp_path / "new.log") == comments(path)


# Every rule, on arguments that TVM 0.6 had.

D, W = ["TENSOR", [1, 64, 56, 56], "float32"], ["TENSOR", [128, 64, 3, 3], "float32"]
d, w = [1, 64, 56, 56, "float32"], [128, 64, 3, 3, "float32"]
CONV = [D, W, [1, 1], [1, 1], [1, 1], "NCHW", "float32"]
NEW_CONV = [D, W, [1, 1], [1, 1, 1, 1], [1, 1], "float32"]
NEW_NCHWC = [D, W, [1, 1], [1, 1, 1, 1], [1, 1], "NCHW", "NCHW", "float32"]
DEPTHWISE = [D, W, [1, 1], [1, 1], [1, 1], "float32"]
TRANSPOSED = [D, W, [2, 2], [1, 1], "float32", [0, 0]]
GROUPED = [D, W, [1, 1], [1, 1], [1, 1], 32, "float32"]
X, Y, B = ["TENSOR", [1, 512], "float32"], ["TENSOR", [1000, 512], "float32"], ["TENSOR", [1000], "float32"]
OFFSET = ["TENSOR", [1, 18, 56, 56], "float32"]
DENSE = [X, Y, None, "float32"]
ARM = "llvm -device=arm_cpu -model=rk3399 -target=aarch64-linux-gnu"
MALI = "opencl -device=mali -model=rk3399"
BIFROST = "opencl -device=bifrost"
INTEL = "opencl -device=intel_graphics"
X86 = "llvm -mcpu=skylake-avx512"

CASES: list[tuple[str, str, str, list[Any], str, list[Any]]] = [
    ("cuda -model=v100", "topi_nn_conv2d", "direct", CONV, "conv2d_nchw.cuda", NEW_CONV),
    ("rocm -model=gfx900", "topi_nn_conv2d", "direct", CONV, "conv2d_nchw.cuda", NEW_CONV),
    ("opencl -model=gfx900", "topi_nn_conv2d", "winograd", CONV, "conv2d_nchw_winograd.cuda", NEW_CONV),
    ("cuda", "topi_nn_conv2d", "direct", [D, W, 1, 1, 1, "NCHW", "float32"], "conv2d_nchw.cuda", NEW_CONV),
    ("cuda", "topi_nn_conv2d", "direct", [D, W, [1, 1], [1, 1], "NCHW", "float32"], "conv2d_nchw.cuda", NEW_CONV),
    (
        "cuda",
        "topi_nn_conv2d",
        "int8",
        CONV,
        "conv2d_NCHWc_int8.cuda",
        [D, W, [1, 1], [1, 1, 1, 1], [1, 1], "NCHW", "float32"],
    ),
    ("cuda", "topi_nn_depthwise_conv2d_nchw", "direct", DEPTHWISE, "depthwise_conv2d_nchw.cuda", NEW_CONV),
    (
        "rocm",
        "topi_nn_conv2d_transpose_nchw",
        "direct",
        TRANSPOSED,
        "conv2d_transpose_nchw.cuda",
        [D, W, [2, 2], [1, 1, 1, 1], "float32"],
    ),
    (
        "cuda",
        "topi_nn_group_conv2d_nchw",
        "direct",
        GROUPED,
        "group_conv2d_nchw.cuda",
        [D, W, [1, 1], [1, 1, 1, 1], [1, 1], 32, "float32"],
    ),
    (
        "cuda",
        "topi_nn_group_conv2d_nchw",
        "int8",
        GROUPED,
        "group_conv2d_NCHWc_int8.cuda",
        [D, W, [1, 1], [1, 1, 1, 1], [1, 1], 32, "float32"],
    ),
    (
        "cuda",
        "topi_nn_deformable_conv2d_nchw",
        "direct",
        [D, OFFSET, W, [1, 1], [1, 1], [1, 1], 1, 1, "float32"],
        "deformable_conv2d_nchw.cuda",
        [D, OFFSET, W, [1, 1], [1, 1, 1, 1], [1, 1], 1, 1, "float32"],
    ),
    ("cuda", "topi_nn_dense", "direct", DENSE, "dense_small_batch.gpu", DENSE),
    ("cuda", "topi_nn_dense", "int8", DENSE, "dense_int8.cuda", DENSE),
    (ARM, "topi_nn_conv2d", "direct", CONV, "conv2d_nchw_spatial_pack.arm_cpu", NEW_CONV),
    (
        ARM,
        "topi_nn_conv2d",
        "direct",
        [*CONV[:5], "NHWC", "int16"],
        "conv2d_nhwc_spatial_pack.arm_cpu",
        [*NEW_CONV[:5], "int16"],
    ),
    (ARM, "topi_nn_conv2d", "winograd", CONV, "conv2d_nchw_winograd.arm_cpu", NEW_CONV),
    (ARM, "topi_nn_depthwise_conv2d_nchw", "direct", DEPTHWISE, "depthwise_conv2d_nchw.arm_cpu", NEW_CONV),
    (
        ARM,
        "topi_nn_depthwise_conv2d_nchw",
        "contrib_spatial_pack",
        DEPTHWISE,
        "depthwise_conv2d_nchw_spatial_pack.arm_cpu",
        NEW_CONV,
    ),
    (
        ARM,
        "topi_nn_conv2d_transpose_nchw",
        "direct",
        TRANSPOSED,
        "conv2d_transpose_nchw.arm_cpu",
        [D, W, [2, 2], [1, 1, 1, 1], "float32"],
    ),
    (MALI, "topi_nn_conv2d", "direct", CONV, "conv2d_nchw_spatial_pack.mali", NEW_CONV),
    (MALI, "topi_nn_conv2d", "winograd", CONV, "conv2d_nchw_winograd.mali", NEW_CONV),
    (MALI, "topi_nn_depthwise_conv2d_nchw", "direct", DEPTHWISE, "depthwise_conv2d_nchw.mali", NEW_CONV),
    (MALI, "topi_nn_dense", "direct", [X, Y, B, None], "dense.mali", [X, Y, B, None]),
    (BIFROST, "topi_nn_conv2d", "direct", CONV, "conv2d_nchw_spatial_pack.bifrost", NEW_CONV),
    (BIFROST, "topi_nn_conv2d", "winograd", CONV, "conv2d_nchw_winograd.bifrost", NEW_CONV),
    (BIFROST, "topi_nn_dense", "direct", DENSE, "dense.bifrost", DENSE),
    (
        INTEL,
        "topi_intel_graphics_conv2d_NCHWc",
        "",
        [D, W, 64, [3, 3], [1, 1], [1, 1], "NCHW", "NCHW", "float32"],
        "conv2d_NCHWc.intel_graphics",
        NEW_NCHWC,
    ),
    (
        INTEL,
        "topi_intel_graphics_conv2d_NCHWc",
        "direct",
        [D, W, [1, 1], [1, 1], [2, 2], "NCHW", "NCHW", "float32"],
        "conv2d_NCHWc.intel_graphics",
        [*NEW_NCHWC[:4], [2, 2], *NEW_NCHWC[5:]],
    ),
    (INTEL, "topi_nn_depthwise_conv2d_nchw", "direct", DEPTHWISE, "depthwise_conv2d_nchw.intel_graphics", NEW_CONV),
    (
        X86,
        "topi_x86_conv2d",
        "direct",
        [D, W, 64, [3, 3], [1, 1], [1, 1], [1, 1], "NCHW", "float32"],
        "conv2d_NCHWc.x86",
        NEW_NCHWC,
    ),
    (X86, "topi_x86_conv2d_NCHWc", "direct", CONV, "conv2d_NCHWc.x86", NEW_NCHWC),
    (X86, "topi_x86_conv2d_NCHWc", "direct", [*CONV[:6], "NCHW", "float32"], "conv2d_NCHWc.x86", NEW_NCHWC),
    (X86, "topi_x86_conv2d_NCHWc_int8", "direct", CONV, "conv2d_NCHWc_int8.x86", NEW_NCHWC),
    (
        X86,
        "topi_x86_depthwise_conv2d_NCHWc_from_nchw",
        "direct",
        DEPTHWISE,
        "depthwise_conv2d_NCHWc.x86",
        NEW_NCHWC,
    ),
    (X86, "topi_nn_dense", "direct_nopack", DENSE, "dense_nopack.x86", DENSE),
    (X86, "topi_nn_dense", "direct_pack", DENSE, "dense_pack.x86", DENSE),
]


def old_row(target: str, task: str, template: str, args: list[Any], **changes: Any) -> dict[str, Any]:
    return {
        "i": [
            target,
            task,
            args,
            changes.get("kwargs", {}),
            changes.get("workload"),
            {"i": 7, "t": template, "c": None, "e": changes.get("entity", [["tile_k", "sp", [8, 8]]])},
        ],
        "r": [[0.001], 0, 1.5, 1535423916.7],
        "v": 0.1,
    }


def convert(row: dict[str, Any]) -> dict[str, Any]:
    value = json.loads(to_new(parse_old_row(json.dumps(row))).to_json())
    assert isinstance(value, dict)
    return value


def back(value: dict[str, Any]) -> dict[str, Any]:
    row = json.loads(to_old(parse_record(json.dumps(value))).to_json())
    assert isinstance(row, dict)
    return row


@pytest.mark.parametrize(("target", "task", "template", "args", "new_task", "new_args"), CASES)
def test_every_rule(target: str, task: str, template: str, args: list[Any], new_task: str, new_args: list[Any]) -> None:
    row = old_row(target, task, template, args)
    value = convert(row)
    assert value["input"] == [target, new_task, new_args, {}]
    assert value["config"] == {"index": 7, "code_hash": None, "entity": row["i"][5]["e"]}
    assert (value["result"], value["version"]) == (row["r"], 0.2)
    assert back(value) == row


def test_the_cases_leave_no_rule_out() -> None:
    tried = {(task, new_task) for _, task, _, _, new_task, _ in CASES}
    tried |= {("topi_nn_dense", "dense_large_batch.gpu")}
    assert {(rule.old, rule.new) for rule in RULES} == tried


@pytest.mark.parametrize(
    ("target", "entity", "task"),
    [
        (
            "cuda",
            [["tile_x", "sp", [1, 1, 1]], ["tile_y", "sp", [1]], ["tile_k", "sp", [8, 8]]],
            "dense_large_batch.gpu",
        ),
        ("cuda", [["tile_k", "sp", [8, 8]]], "dense_small_batch.gpu"),
        (X86, [["tile_x", "sp", [1, 1]], ["tile_y", "sp", [1, 1]], ["tile_k", "sp", [8, 8]]], "dense_nopack.x86"),
        (ARM, [["tile_x", "sp", [1, 1, 1]], ["tile_y", "sp", [1, 1, 1]], ["tile_k", "sp", [8, 8]]], "dense_pack.x86"),
    ],
)
def test_a_dense_layers_schedule_is_known_by_its_knobs(target: str, entity: list[Any], task: str) -> None:
    row = old_row(target, "topi_nn_dense", "direct", DENSE, entity=entity)
    value = convert(row)
    assert value["input"][1] == task
    assert back(value) == row


def test_what_tvm_0_6_needs_to_find_a_record_again() -> None:
    value = json.loads(record(tophub={"device": "AMD EPYC", "measured": "2026-01-01T00:00:00+00:00"}).to_json())
    row = back(value)
    assert row["i"][4] == [
        "conv2d",
        [1, 64, 56, 56, "float32"],
        [64, 64, 3, 3, "float32"],
        [1, 1],
        [1, 1],
        [1, 1],
        "NCHW",
        "float32",
    ]
    assert row["i"][5]["t"] == "direct"
    assert row["tophub"] == value["tophub"]
    again = convert(row)
    assert again["input"] == value["input"]
    assert again["tophub"] == {**value["tophub"], "converted": {"log_version": 0.1, "tophub": value["tophub"]}}


def test_provenance_says_that_it_was_converted_and_when_it_was_measured() -> None:
    plain = convert(
        old_row(
            "cuda",
            "topi_nn_conv2d",
            "direct",
            CONV,
            workload=["conv2d", d, w, [1, 1], [1, 1], [1, 1], "NCHW", "float32"],
        )
    )
    assert plain["tophub"] == {"measured": "2018-08-28T02:38:36+00:00", "converted": {"log_version": 0.1}}
    short = old_row("cuda", "topi_nn_conv2d", "direct", [D, W, 1, 1, "NCHW", "float32"])
    assert convert(short)["tophub"]["converted"]["task"] == [*short["i"][1:5], "direct"]


def test_a_record_changed_since_its_conversion_goes_back_by_the_rules() -> None:
    value = convert(old_row("cuda", "topi_nn_conv2d", "direct", [D, W, 1, 1, "NCHW", "float32"]))
    value["input"][2][2] = [2, 2]
    assert back(value)["i"][2] == [D, W, [2, 2], [1, 1], [1, 1], "NCHW", "float32"]


def test_keys_that_nobody_knows_go_along() -> None:
    row = old_row("cuda", "topi_nn_conv2d", "direct", CONV) | {"note": ["kept"], "tophub": {"device": "x"}}
    value = convert(row)
    assert value["note"] == ["kept"]
    assert value["tophub"]["device"] == "x"
    assert back(value) == row


@pytest.mark.parametrize(
    ("target", "task", "template", "args", "reason"),
    [
        ("cuda", "topi_nn_new", "direct", CONV, "no rule for 'topi_nn_new'"),
        ("cuda", "topi_nn_conv2d", "magic", CONV, "with the template 'magic'"),
        ("cuda -device=thing", "topi_nn_conv2d", "direct", CONV, "on 'cuda -device=thing'"),
        ("hexagon", "topi_nn_conv2d", "direct", CONV, "on 'hexagon'"),
        ("cuda", "topi_nn_conv2d", "direct", [*CONV[:5], "HWCN", "float32"], "with this layout or these knobs"),
        (X86, "topi_nn_conv2d", "direct", CONV, "on 'x86'"),
        (X86, "topi_nn_dense", "direct", DENSE, "with this layout or these knobs"),
        ("cuda", "topi_nn_conv2d", "direct", CONV[:4], "no rule for 4 arguments"),
        ("cuda", "topi_nn_conv2d", "direct", [D, W, [1, 1], "SAME", [1, 1], "NCHW", "float32"], '"SAME" as padding'),
        ("cuda", "topi_nn_conv2d", "direct", [D, 3, *CONV[2:]], "3 as kernel"),
        ("cuda", "topi_nn_conv2d", "direct", [D, ["TENSOR", [1.5], "int8"], *CONV[2:]], "as kernel"),
        ("cuda", "topi_nn_conv2d", "direct", [D, W, [1, 1, 1], *CONV[3:]], "[1, 1, 1] as strides"),
        ("cuda", "topi_nn_conv2d", "direct", [D, W, True, *CONV[3:]], "true as strides"),
        (
            "cuda",
            "topi_nn_conv2d_transpose_nchw",
            "direct",
            [*TRANSPOSED[:5], [1, 1]],
            "no way to express output_padding",
        ),
        (
            INTEL,
            "topi_intel_graphics_conv2d_NCHWc",
            "",
            [D, W, 3, [3, 3], [1, 1], [1, 1], "NCHW", "NCHW", "float32"],
            "in_channels and the tensors disagree",
        ),
    ],
)
def test_what_is_not_certain_is_refused(target: str, task: str, template: str, args: list[Any], reason: str) -> None:
    with pytest.raises(NoConversionError) as caught:
        convert(old_row(target, task, template, args))
    assert reason in caught.value.message


def test_a_workload_that_contradicts_the_arguments_is_refused() -> None:
    for workload in (
        ["conv2d", d, w, [2, 2], [1, 1], [1, 1], "NCHW", "float32"],
        ["conv2d", w, d],
        ["conv2d"],
    ):
        with pytest.raises(NoConversionError, match="disagree"):
            convert(old_row("cuda", "topi_nn_conv2d", "direct", CONV, workload=workload))
    with pytest.raises(NoConversionError, match="keyword arguments"):
        convert(old_row("cuda", "topi_nn_conv2d", "direct", CONV, kwargs={"a": 1}))


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"task": "conv2d_nhwc_tensorcore.cuda"}, "no rule for 'conv2d_nhwc_tensorcore.cuda'"),
        ({"target": "cuda"}, "no rule for 'conv2d_NCHWc.x86' on 'gpu'"),
    ],
)
def test_what_tvm_0_6_never_had_is_refused(changes: dict[str, str], reason: str) -> None:
    with pytest.raises(NoConversionError) as caught:
        to_old(record(**changes))
    assert reason in caught.value.message


@pytest.mark.parametrize("padding", [[1, 1, 1, 1], [1, 1, 2, 2], [0, 1, 0, 1]])
def test_paddings_of_four_numbers_convert_and_convert_back(padding: list[int]) -> None:
    """TVM wrote them between its asymmetric padding and log version 0.2, in arguments and workload alike."""
    args = [*CONV[:3], padding, *CONV[4:]]
    workload = ["conv2d", d, w, [2, 2], padding, [1, 1], "NCHW", "float32"]
    row = old_row("cuda", "topi_nn_conv2d", "direct", [D, W, [2, 2], *args[3:]], workload=workload)
    value = convert(row)
    assert value["input"][2][3] == padding
    assert back(value) == row
    wrong = [*workload[:4], [3, 3, 3, 3], *workload[5:]]
    with pytest.raises(NoConversionError, match="disagree"):
        convert(old_row("cuda", "topi_nn_conv2d", "direct", [D, W, [2, 2], *args[3:]], workload=wrong))


def test_a_user_s_own_template_keeps_its_name_and_its_arguments() -> None:
    args = [1, 28, 28, 128, [1, 1]]
    for template in ("", "direct"):
        row = old_row("cuda", "tutorial/conv2d", template, args, workload=["tutorial/conv2d", *args])
        value = convert(row)
        assert value["input"][1:] == ["tutorial/conv2d", args, {}]
        assert back(value) == row
    fresh = record(task="mine").model_copy(update={"input": record().input._replace(task="mine", args=args)})
    assert to_old(fresh).i.workload == ["mine", *args]


# Reading.


def test_a_log_may_mix_both_versions(tmp_path: Path) -> None:
    path = tmp_path / "mixed.log"
    path.write_text(f"{json.dumps(old_row('cuda', 'topi_nn_conv2d', 'direct', CONV))}\n{record().to_json()}\n")
    assert [r.input.task for r in read_records(path)] == ["conv2d_nchw.cuda", "conv2d_NCHWc.x86"]


def test_a_row_without_a_rule_is_named_when_a_log_is_read(tmp_path: Path) -> None:
    path = tmp_path / "old.log"
    path.write_text(f"# one\n{json.dumps(old_row('hexagon', 'topi_nn_conv2d', 'direct', CONV))}")
    with pytest.raises(NoConversionError) as caught:
        list(read_rows(path))
    assert (caught.value.file, caught.value.line) == (str(path), 2)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"v": 0.05}, "log version 0.05 is not supported"),
        ({"r": [[0.0], 0, 1.0, 1.0]}, "takes more than 0 seconds"),
        ({"r": [["x"], 0, 1.0, 1.0]}, "not a record: r.costs.0"),
        ({"i": ["cuda", "t", [], {}, None]}, "not a record: i.config"),
        ({"i": ["", "t", [], {}, None, {"i": 1, "t": "direct", "c": None, "e": []}]}, "not a target"),
    ],
)
def test_a_broken_old_row(change: dict[str, Any], message: str) -> None:
    row = old_row("cuda", "topi_nn_conv2d", "direct", CONV) | change
    with pytest.raises(InputError) as caught:
        parse_record(json.dumps(row), file="x.log", line=3)
    assert message in caught.value.message
    assert (caught.value.file, caught.value.line) == ("x.log", 3)
    assert not isinstance(caught.value, NoConversionError)


def test_nothing_is_written_when_a_row_is_broken(tmp_path: Path) -> None:
    path = tmp_path / "old.log"
    for broken in ("{", "# \udcff", json.dumps(old_row("cuda", "t", "direct", CONV))[:80]):
        path.write_bytes(record().to_json().encode() + b"\n" + broken.encode(errors="surrogateescape") + b"\n")
        for to in (0.1, 0.2):
            with pytest.raises(InputError):
                convert_log(path, tmp_path / "new.log", to=to)
    assert list(tmp_path.iterdir()) == [path]


OWN: dict[str, Any] = {
    "i": ["llvm", "mine", [1], {}, ["mine", 1], {"i": 1, "t": "", "c": None, "e": []}],
    "r": [[0.001], 0, 1.5, 1570000000.0],
    "v": 0.1,
}
MEASURED = "2019-10-02T07:06:40+00:00"


@pytest.mark.parametrize(
    "provenance",
    [
        None,
        {},
        {"device": "d"},
        {"measured": MEASURED},
        {"measured": "then"},
        {"measured": None},
        {"converted": None},
        {"converted": {"log_version": 0.1}},
        {"measured": MEASURED, "converted": {"log_version": 0.1, "task": [1], "tophub": {}}},
    ],
)
def test_the_provenance_of_a_row_comes_back_as_it_was(provenance: object) -> None:
    row = {**OWN, "tophub": provenance}
    new = parse_record(json.dumps(row))
    assert json.loads(to_old(parse_record(new.to_json())).to_json()) == row
    assert new.tophub is not None
    later = new.model_copy(update={"tophub": new.tophub.model_copy(update={"rank": "replayed"})})
    told = to_old(later).tophub
    assert told is not None, "what was added since is not lost"
    assert told.rank == "replayed"


@pytest.mark.parametrize("key", ["version", "tvm_version", "config", "result"])
def test_a_key_that_means_something_else_in_the_new_version_is_refused(key: str) -> None:
    with pytest.raises(NoConversionError, match=f"'{key}', which means something else in log version 0.2"):
        parse_record(json.dumps({**OWN, key: 1}))


@pytest.mark.parametrize("key", ["i", "r", "v"])
def test_a_key_that_means_something_else_in_the_old_version_is_refused(key: str) -> None:
    new = parse_record(json.dumps({**json.loads(record().to_json()), key: 1}))
    with pytest.raises(NoConversionError, match=f"'{key}', which means something else in log version 0.1"):
        to_old(new)


def test_a_row_that_could_not_be_read_again_is_not_written() -> None:
    value = json.loads(record(target="opencl -device=intel_graphics", task="conv2d_NCHWc.intel_graphics").to_json())
    value["input"][2][1] = ["TENSOR", [7, 7], "float32"]
    with pytest.raises(NoConversionError, match="kernel_size"):
        to_old(parse_record(json.dumps(value)))


@pytest.mark.parametrize("argument", [["TENSOR"], ["TENSOR", 9, "float32"], ["TENSOR", [1]], ["TENSOR", None, 1, 2]])
def test_what_only_looks_like_a_tensor_in_somebodys_own_task(argument: list[Any]) -> None:
    value = json.loads(record(task="mine").to_json())
    value["input"][2] = [argument]
    old = to_old(parse_record(json.dumps(value)))
    assert old.i.workload == ["mine", argument]
    assert to_new(old).input.args == [argument]


def test_a_row_that_would_become_too_long_is_left_out(tmp_path: Path) -> None:
    old = {**OWN, "i": ["llvm", "mine", ["x" * 40_000], {}, None, OWN["i"][5]]}
    value = json.loads(record(task="mine").to_json())
    value["input"][2] = ["x" * 40_000]
    for row, to in ((old, 0.2), (value, 0.1)):
        log, output = tmp_path / "log", tmp_path / f"{to}.log"
        log.write_text(json.dumps(row), encoding="utf-8")
        report = convert_log(log, output, to=to)
        assert report.left_out[0].reason == f"in log version {to} the line would be longer than 65536 bytes"


@pytest.mark.parametrize(("levels", "left_out"), [(10, 0), (150, 0), (197, 1)])
def test_a_row_that_would_be_nested_too_deeply_is_left_out(tmp_path: Path, levels: int, left_out: int) -> None:
    deep: Any = 1
    for _ in range(levels):
        deep = [deep]
    log, output = tmp_path / "log", tmp_path / "new.log"
    log.write_text(json.dumps({**OWN, "i": ["llvm", "mine", [1], {}, deep, OWN["i"][5]]}) + "\n", encoding="utf-8")
    report = convert_log(log, output, to=0.2)
    assert [each.reason for each in report.left_out] == left_out * ["in log version 0.2 it would be nested too deeply"]
    assert convert_log(output, tmp_path / "again.log", to=0.2).converted == 0


def test_the_reason_for_leaving_out_a_row_is_short(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text(json.dumps({**OWN, "i": ["x" * 3000, "topi_nn_dense", [], {}, None, OWN["i"][5]]}), encoding="utf-8")
    (left,) = convert_log(log, tmp_path / "new.log", to=0.2).left_out
    assert len(left.reason) <= 501
