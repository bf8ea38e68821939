"""What validation finds, and that it finds nothing else."""

from __future__ import annotations

import json
import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.records.rows import MEASURED, row, text
from tests.records.test_conversion import CONV, old_row
from tophub_registry.errors import InputError
from tophub_registry.records.flops import flop
from tophub_registry.records.rows import MAX_LINE
from tophub_registry.records.validate import MAX_FINDINGS, RULES, Finding, validate_log

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tophub_registry.records.record import Record


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "new.log"


def write(path: Path, *lines: str) -> Path:
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return path


def rules(path: Path, **options: Any) -> list[tuple[int, str, str]]:
    return [(finding.line, finding.rule, finding.severity) for finding in validate_log(path, **options).findings]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("arm_cpu_v0.05", {"several": 1, "targets": 1}),
        ("arm_cpu_v0.06", {"several": 1, "targets": 1}),
        ("cuda_v0.01", {"targets": 1}),
        ("cuda_v0.05", {"several": 1, "targets": 1}),
        ("cuda_v0.06", {"several": 1, "targets": 1}),
        ("cuda_v0.07", {"several": 1, "targets": 1}),
        ("cuda_v0.08", {"several": 1, "targets": 1}),
        ("intel_graphics_v0.01", {"duplicate": 30}),
        ("intel_graphics_v0.02", {"duplicate": 30}),
        ("llvm_v0.01", {}),
        ("llvm_v0.04", {}),
        ("vta_v0.05", {"conversion": 20, "targets": 1}),
        ("vta_v0.06", {"conversion": 89, "targets": 1}),
    ],
)
def test_upstreams_logs(upstream: Path, name: str, expected: dict[str, int]) -> None:
    validation = validate_log(upstream / f"{name}.log")
    assert Counter(finding.rule for finding in validation.findings) == expected
    assert (validation.errors, validation.warnings) == (0, sum(expected.values()))
    lines = (upstream / f"{name}.log").read_text().splitlines()
    assert validation.rows + validation.comments == len(lines)
    for finding in validation.findings:
        if finding.rule == "duplicate":
            first = int(finding.message.rpartition(" ")[2])
            assert json.loads(lines[finding.line - 1]) == json.loads(lines[first - 1])


def test_every_rule_is_tried_in_this_file() -> None:
    source = Path(__file__).read_text(encoding="utf-8")
    source += Path(__file__).with_name("test_fitness.py").read_text(encoding="utf-8")
    assert all(f'"{rule}"' in source for rule in RULES)


def test_a_sound_log(log: Path) -> None:
    write(log, "# mine", text(channels=64), text(channels=128), text(channels=128, error_no=4, costs=[1e9]))
    validation = validate_log(log)
    assert (validation.rows, validation.comments, validation.findings) == (3, 1, ())


@pytest.mark.parametrize(
    ("line", "rule"),
    [
        ("{", "json"),
        ("{}", "shape"),
        (text(costs=[]), "shape"),
        (text(costs=[0.0]), "cost"),
        (text(tile_ow="8"), "knob"),
        (text(channels=float("inf")), "number"),
        (text(target="llvm what"), "target"),
        (text().replace("0.2,", "0.4,"), "version"),
        (text(timestamp=time.time() + 1e6), "time"),
        (text(timestamp=MEASURED * 1000), "time"),
        (text(costs=[1e-9]), "speed"),
        ("x" * (MAX_LINE + 5), "length"),
        ("[" * 300 + "]" * 300, "json"),
        ("cuda\tgASV\tgASV\tgASV", "pickle"),
    ],
)
def test_every_row_is_looked_at_however_broken_another_is(log: Path, line: str, rule: str) -> None:
    write(log, text(channels=1), line, text(channels=2), line.replace("1e-09", "2e-09"), "")
    found = [finding for finding in rules(log) if finding[2] == "error"]
    assert found == [(2, rule, "error"), (4, rule, "error")]
    validation = validate_log(log)
    assert (validation.rows, validation.errors) == (4, 2)
    assert all(finding.file == str(log) and finding.rule in RULES for finding in validation.findings)
    assert all(finding.remedy for finding in validation.findings if finding.severity == "error")


def test_comments_and_the_last_row(log: Path) -> None:
    log.write_bytes(b"# caf\xe9\n" + text().encode()[:80])
    assert rules(log) == [(1, "encoding", "error"), (2, "torn", "error")]


@pytest.mark.parametrize("timestamp", [0, -1, 1e9])
def test_a_record_without_its_time_is_only_warned_of(log: Path, timestamp: float) -> None:
    assert rules(write(log, text(timestamp=timestamp))) == [(1, "time", "warning")]


def test_rows_of_log_version_0_1(log: Path) -> None:
    known, unknown = (json.dumps(old_row(target, "topi_nn_conv2d", "direct", CONV)) for target in ("cuda", "hexagon"))
    write(log, known, unknown, unknown, known)
    assert rules(log) == [
        (2, "conversion", "warning"),
        (3, "conversion", "warning"),
        (3, "duplicate", "warning"),
        (4, "duplicate", "warning"),
        (0, "targets", "warning"),
    ]


def test_several_records_for_one_key_are_told_once_for_the_whole_log(log: Path) -> None:
    write(
        log,
        text(target="llvm -mcpu=a -model=b", costs=[0.1]),
        text(target="llvm -model=b -mcpu=a", costs=[0.2]),
        text(target="llvm -model=b -mcpu=a", costs=[0.3]),
        text(target="llvm -model=b -mcpu=a", costs=[1e9], error_no=1),
    )
    (finding,) = validate_log(log).findings
    assert (finding.line, finding.rule, finding.severity) == (0, "several", "warning")
    assert finding.message == "1 of 1 workloads have several records: lines 1, 2, 3"
    assert rules(log, together=False) == []
    trials = [text(channels=channels, costs=[cost]) for cost in (0.1, 0.2, 0.3) for channels in range(1, 8)]
    (finding,) = validate_log(write(log, *trials, text(channels=9))).findings
    assert finding.message.startswith("7 of 8 workloads have several records: lines 1, 8, 15; lines 2, 9, 16; ")
    assert finding.message.endswith("; lines 5, 12, 19; …")


def test_mixed_targets_and_devices(log: Path) -> None:
    write(
        log,
        text(channels=1, target="cuda -model=a"),
        text(channels=2, tophub={"device": "one"}),
        text(channels=3, tophub={"device": "one"}),
        text(channels=4, tophub={"device": "other"}),
    )
    targets, devices = validate_log(log).findings
    assert (targets.rule, devices.rule) == ("targets", "devices")
    assert targets.message == "2 targets: llvm -mcpu=znver4 (3), cuda -model=a (1)"
    assert devices.message == "llvm -mcpu=znver4 was measured on 2 devices: one (2), other (1)"


def test_a_version_like_the_one_before(tmp_path: Path) -> None:
    before = write(tmp_path / "llvm_v0.01.log", "# one", text(channels=1), text(channels=2))
    same = write(tmp_path / "llvm_v0.02.log", text(channels=2), "# two", text(channels=1))
    other = write(tmp_path / "llvm_v0.03.log", text(channels=2))
    assert rules(same, previous=before) == [(0, "unchanged", "error")]
    assert rules(other, previous=same) == []


def test_checks_from_elsewhere(log: Path) -> None:
    def check(record: Record) -> Iterator[Finding]:
        if record.config.value("tile_ow")[-1] != 8:
            yield Finding("space", "tile_ow is 8", "warning")

    write(log, text(channels=1), "{", text(channels=2, tile_ow=7))
    assert rules(log, checks=[check]) == [(2, "json", "error"), (3, "space", "warning")]


def test_so_many_findings_are_kept_and_all_are_counted(log: Path) -> None:
    log.write_text("{\n" * (MAX_FINDINGS + 7))
    validation = validate_log(log)
    assert (validation.errors, len(validation.findings)) == (MAX_FINDINGS + 7, MAX_FINDINGS)


def test_a_missing_log(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file"):
        validate_log(tmp_path / "no.log")


def test_a_file_that_is_no_text_has_one_finding(log: Path, tmp_path: Path) -> None:
    (tmp_path / "it.zip").write_bytes(b"PK\x03\x04\n\0\0\n" * 100)
    (finding,) = validate_log(tmp_path / "it.zip").findings
    assert (finding.message, finding.line) == ("binary data, and no log", 0)
    write(log, "\0", text())
    assert [(line, rule) for line, rule, _ in rules(log)] == [(1, "json")]  # a log with one such line


# Arithmetic.


def tensor(*shape: int, dtype: str = "float32") -> list[Any]:
    return ["TENSOR", list(shape), dtype]


@pytest.mark.parametrize(
    ("task", "args", "operations"),
    [
        ("conv2d_NCHWc.x86", row()["input"][2], 2 * 64 * 64 * 9 * 56 * 56),
        (
            "conv2d_NCHWc.x86",
            [tensor(1, 4, 56, 56, 16), tensor(2, 4, 3, 3, 16, 32), [1, 1], [1, 1], [1, 1]],
            2 * 64 * 64 * 9 * 56 * 56,
        ),
        (
            "conv2d_nchw.cuda",
            [tensor(1, 3, 224, 224), tensor(64, 3, 7, 7), [2, 2], [3, 3, 3, 3], [1, 1]],
            236_027_904,
        ),
        (
            "conv2d_nhwc.gpu",
            [tensor(2, 56, 56, 64), tensor(3, 3, 64, 128), 1, 1, 1],
            2 * 2 * 56 * 56 * 9 * 64 * 128,
        ),
        ("conv2d_nchw.cuda", [tensor(1, 8, 9, 9), tensor(8, 8, 3, 3), 1, 0, 2], 2 * 8 * 8 * 9 * 25),
        ("depthwise_conv2d_nchw.cuda", [tensor(1, 64, 8, 8), tensor(64, 1, 3, 3), 1, 1, 1], 2 * 64 * 9 * 64),
        ("group_conv2d_nchw.cuda", [tensor(1, 64, 8, 8), tensor(64, 2, 3, 3), 1, 1, 1, 32], 2 * 64 * 2 * 9 * 64),
        ("conv2d_transpose_nchw.cuda", [tensor(1, 64, 8, 8), tensor(64, 32, 4, 4)], 2 * 64 * 64 * 32 * 16),
        ("dense_nopack.x86", [tensor(1, 512), tensor(1000, 512), None, "float32"], 2 * 512 * 1000),
        ("batch_matmul.x86", [tensor(8, 16, 32), tensor(8, 64, 32)], 2 * 8 * 16 * 32 * 64),
        ("batch_matmul.x86", [tensor(8, 16, 32), tensor(8, 32, 64), None, "float32", 0, 0], 2 * 8 * 16 * 32 * 64),
        ("conv2d_packed.vta", [tensor(1, 16, 14, 14, 1, 16), tensor(32, 16, 3, 3, 16, 16), 1, 1, 1], None),
        ("something.else", [tensor(1, 2), tensor(3, 4)], None),
        ("conv2d_nchw.cuda", [], None),
        ("conv2d_nchw.cuda", [tensor(1, 8, 9, 9), tensor(8, 8, 3, 3), 0, 0, 1], None),
        ("conv2d_nchw.cuda", [tensor(1, 8, 9, 9), tensor(8, 8, 3, 3), "a", 0, 1], None),
        ("conv2d_nchw.cuda", [tensor(1, 8, 9, 9), [], 1, 0, 1], None),
    ],
)
def test_operations_of_a_workload(task: str, args: list[Any], operations: int | None) -> None:
    assert flop(task, args) == operations


def test_a_nul_in_a_comment_does_not_make_bad_rows_binary(tmp_path: Path) -> None:
    log = write(tmp_path / "x.log", "#\0", text(timestamp=1e11))
    assert [(finding.rule, finding.line) for finding in validate_log(log).findings] == [("time", 2)]
