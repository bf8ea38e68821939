"""A log is read as it was written, and what is broken in it is named with its line."""

from __future__ import annotations

import contextlib
import gzip
import io
import json
import os
import resource
import shutil
import signal
from typing import TYPE_CHECKING

import pytest

from tests.records.rows import MEASURED, record, row, text
from tests.registries import OLD_ROW
from tophub_registry.errors import EnvironmentFailure, InputError, UsageError
from tophub_registry.records.appender import LogAppender
from tophub_registry.records.log import open_log, read_lines, read_records, read_rows, write_log
from tophub_registry.records.rows import MAX_LINE, is_old_row, parse_record
from tophub_registry.records.validate import validate_log

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "new.log"


def broken(log: Path) -> InputError:
    with pytest.raises(InputError) as caught:
        list(read_rows(log))
    return caught.value


@pytest.mark.parametrize("name", ["cuda_v0.08", "arm_cpu_v0.06", "intel_graphics_v0.02", "llvm_v0.04"])
def test_upstream_logs_are_written_again_to_the_byte(upstream: Path, log: Path, name: str) -> None:
    original = upstream / f"{name}.log"
    write_log(log, (r.comment or r.record for r in read_rows(original)))
    assert log.read_bytes() == original.read_bytes()


def test_comments_keep_their_place(log: Path) -> None:
    lines = ["# pre-tuned", text(), "", "#, a second one", text(channels=128), "# é"]
    log.write_text("\n".join(lines), encoding="utf-8")
    rows = list(read_rows(log))
    assert [r.comment for r in rows] == ["# pre-tuned", None, "#, a second one", None, "# é"]
    assert [r.line for r in rows] == [1, 2, 4, 5, 6]
    assert len(list(read_records(log))) == 2


def test_keys_that_nobody_knows_are_kept() -> None:
    value = row(tophub={"device": "AMD EPYC 9254", "mood": ["sunny", {"deep": 1.5}]})
    value["note"] = {"by": "someone"}
    value["config"]["hint"] = [1, None]
    assert json.loads(parse_record(json.dumps(value)).to_json()) == value


def test_provenance_that_was_not_given_is_not_written() -> None:
    assert "tophub" not in record().to_json()
    assert json.loads(record(tophub={"threads": 2}).to_json())["tophub"] == {"threads": 2}


def test_keys_in_any_order_are_the_same_record() -> None:
    value = row()
    assert parse_record(json.dumps(dict(reversed(value.items())))) == parse_record(json.dumps(value))


def test_gzip_is_read_by_its_content(tmp_path: Path) -> None:
    path = tmp_path / "packed.log"
    path.write_bytes(gzip.compress(f"# one\n{text()}\n".encode()))
    assert [r.line for r in read_rows(path)] == [1, 2]


@pytest.mark.parametrize("damage", [slice(0, 60), slice(0, 10), slice(0, -4)])
def test_damaged_gzip_is_one_of_our_errors(log: Path, damage: slice) -> None:
    log.write_bytes(gzip.compress(text().encode())[damage])
    assert "damaged gzip data" in broken(log).message


@pytest.mark.parametrize("part", [b"\n", b"x\n", b"x", b" " * 60_000 + b"\n", b"#\n"], ids=lambda part: repr(part[:3]))
def test_a_small_file_that_unpacks_to_a_large_one_is_refused(log: Path, part: bytes) -> None:
    log.write_bytes(gzip.compress(part * (500_000 // len(part))))
    for work in (read_lines, read_rows):
        with pytest.raises(InputError):
            list(work(log))
    with pytest.raises(InputError, match="more than 100 times its size"):
        validate_log(log)
    with open_log(log) as stream, pytest.raises(InputError, match="100 times"):
        shutil.copyfileobj(stream, io.BytesIO())


def test_a_log_of_failed_trials_is_read_gzipped(log: Path) -> None:
    rows = [text(index=number, timestamp=MEASURED + number, costs=[1e9], error_no=4) for number in range(1000)]
    log.write_bytes(gzip.compress("\n".join(rows).encode()))
    assert len(list(read_records(log))) == len(rows)


def test_a_flipped_bit_in_gzip_is_one_of_our_errors(log: Path) -> None:
    packed = gzip.compress(text().encode())
    for place in range(len(packed)):
        log.write_bytes(packed[:place] + bytes([packed[place] ^ 64]) + packed[place + 1 :])
        with contextlib.suppress(InputError):
            list(read_rows(log))


def test_a_missing_file(tmp_path: Path) -> None:
    assert str(broken(tmp_path / "no.log")) == f"{tmp_path}/no.log: no such file"


def test_a_folder_is_no_log(tmp_path: Path) -> None:
    assert broken(tmp_path).file == str(tmp_path)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", "not a JSON row"),
        ("[]", "not a record"),
        ('{"input": 1}', "not a record: input"),
        ("{}", "not a record: input: field required"),
        ("nonsense", "not a JSON row"),
        (text(costs=[]), "not a record: result.costs"),
        (text(costs=["1"]), "not a record: result.costs.0"),
        (text(costs=[0.0]), "takes more than 0 seconds"),
        (text(costs=[-1e-6]), "not a record: result.costs.0"),
        (text(costs=[1e11]), "not a record: result.costs.0"),
        (text(costs=[float("nan")]), "not a record: result.costs.0"),
        (text(costs=[float("inf")]), "not a record: result.costs.0"),
        (text(timestamp=float("inf")), "not a record: result.timestamp"),
        (text(tile_ow="8"), "not a record: config.entity.2: A knob is [name, 'sp' or 're', integers]"),
        (text(tile_ow=True), "not a record: config.entity.2: A knob is"),
        (text(channels=float("nan")), "NaN and Infinity are not JSON numbers"),
        (text(tophub={"x": float("inf")}), "NaN and Infinity are not JSON numbers"),
        (text(channels=12345).replace("12345", "1e999", 1), "NaN and Infinity are not JSON numbers"),
        (text(channels=12345).replace("12345", "1" * 400 + ".0", 1), "NaN and Infinity are not JSON numbers"),
        (text(channels=12345).replace("12345", "1" * 5000, 1), "number out of range"),
        (
            '{"input": {"target": "llvm", "task": "t", "args": [], "kwargs": {}}}',
            "not a record: input: input should be",
        ),
        (text(index="1"), "not a record: config.index"),
        (text(target=""), "not a target"),
        (text(target="llvm nonsense"), "is not an option"),
        (text().replace('"version": 0.2', '"version": 0.3'), "log version 0.3 is not supported"),
        (text().replace('"sp"', '"spl"'), "not a record: config.entity.0"),
        (text(channels=[[]]).replace("[[]]", "[" * 250 + "]" * 250), "recursion limit exceeded"),
        ("cuda\tgASVGA==\tgASV\tgASVGA==", "a pickled row, which is never unpickled"),
        ("cuda -model=1080ti\tgASVGA==\tgASV\tgASVGA==\t0.2\t0.7.dev0", "a pickled row, which is never unpickled"),
    ],
)
def test_a_broken_line_is_named(log: Path, line: str, message: str) -> None:
    log.write_text(f"# fine\n\n{text()}\n{line}\n{text()}\n", encoding="utf-8")
    error = broken(log)
    assert message in error.message
    assert (error.file, error.line) == (str(log), 4)
    assert error.remedy or "version" in message


def test_a_failed_measurement_keeps_its_high_cost() -> None:
    assert parse_record(text(costs=[1e9], error_no=4)).valid is False


def test_a_row_that_is_no_utf8(log: Path) -> None:
    log.write_bytes(text().encode().replace(b"znver4", b"zn\xff"))
    assert "not a JSON row" in str(broken(log).__cause__)


def test_a_comment_that_is_no_utf8(log: Path) -> None:
    log.write_bytes(b"# caf\xe9\n")
    assert broken(log).message == "the comment is not UTF-8"


def test_a_torn_last_row_is_called_so(log: Path) -> None:
    log.write_text(f"{text()}\n{text()[:200]}", encoding="utf-8")
    error = broken(log)
    assert (error.message, error.line) == ("the last row was cut short", 2)


def test_a_complete_last_row_needs_no_line_break(log: Path) -> None:
    log.write_text(f"{text()}\n{text()}", encoding="utf-8")
    assert len(list(read_records(log))) == 2


@pytest.mark.parametrize("start", ["{", "# ", " "])
def test_an_endless_line_is_refused_and_the_next_one_counted_right(log: Path, start: str) -> None:
    log.write_text(start + "9" * (3 * MAX_LINE) + "\n" + text() + "\n{", encoding="utf-8")
    error = broken(log)
    assert (error.message, error.line) == (f"the line is longer than {MAX_LINE} bytes", 1)


def test_a_string_that_is_no_comment_is_not_written(log: Path) -> None:
    for line in ("no comment", f"# two\n{text()}"):
        with pytest.raises(UsageError):
            write_log(log, [line])
    assert not log.exists()


def test_an_existing_log_is_not_overwritten(log: Path) -> None:
    log.write_text("# mine\n", encoding="utf-8")
    with pytest.raises(UsageError):
        write_log(log, [record()])
    assert log.read_text(encoding="utf-8") == "# mine\n"


# Appending.


def append(log: Path, *channels: int) -> None:
    with LogAppender(log) as appender:
        appender.append(record(channels=c) for c in channels)


def channels(log: Path) -> Iterator[int]:
    return (r.input.args[0][1][1] for r in read_records(log))


def test_appending_makes_the_file_and_goes_on(log: Path) -> None:
    append(log, 1, 2)
    append(log, 3)
    assert list(channels(log)) == [1, 2, 3]


def test_a_torn_row_is_cut_off_wherever_it_was_torn(log: Path) -> None:
    append(log, 1)
    whole, torn = log.read_bytes(), record(channels=2).to_json().encode()
    for length in range(1, len(torn), 7):
        log.write_bytes(whole + torn[:length])
        append(log, 3)
        assert list(channels(log)) == [1, 3]


def test_a_torn_first_row_leaves_an_empty_log(log: Path) -> None:
    log.write_text(text()[:100], encoding="utf-8")
    append(log, 1)
    assert list(channels(log)) == [1]


def test_a_row_that_lacks_only_its_line_break_is_kept(log: Path) -> None:
    log.write_text(text(channels=1), encoding="utf-8")
    append(log, 2)
    assert list(channels(log)) == [1, 2]


def test_a_comment_without_a_line_break_is_kept(log: Path) -> None:
    log.write_text("# mine", encoding="utf-8")
    append(log, 1)
    assert log.read_text(encoding="utf-8").startswith("# mine\n{")


@pytest.mark.parametrize(
    "content", [b"import this", b"\xff\xfe", b"{" * (MAX_LINE + 9), gzip.compress(b"# log\n", mtime=0)]
)
def test_a_file_that_is_no_log_is_not_touched(log: Path, content: bytes) -> None:
    log.write_bytes(content)
    with pytest.raises(InputError):
        LogAppender(log)
    assert log.read_bytes() == content


def test_a_folder_can_not_be_appended_to(tmp_path: Path) -> None:
    with pytest.raises(UsageError):
        LogAppender(tmp_path)


def test_when_the_disk_is_full_the_log_is_as_it_was(log: Path) -> None:
    append(log, 1)
    before = log.read_bytes()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        with LogAppender(log) as appender:
            resource.setrlimit(resource.RLIMIT_FSIZE, (len(before) + 100, hard))
            with pytest.raises(EnvironmentFailure) as caught:
                appender.append([record(channels=2)])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, handler)
    assert os.strerror(27) in caught.value.message  # 27: file too large
    assert log.read_bytes() == before


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (
            '{"i": [["[\\"conv2d\\", 1]", "llvm"], [[], []]], "r": [[0.001], 0, 1.2, 1600000000], "v": "v0.6"}',
            "this is a log of Ansor",
        ),
        ("[0, [[[], []], [0.001], {}, []]]", "this is a log of MetaSchedule (its tuning records)"),
        ('["9172", "eyJyb290IjogMX0="]', "this is a log of MetaSchedule (its workloads)"),
        ("\ufeff" + text(), "a byte order mark"),
        (text(costs=[float("nan")]), "result.costs.0: NaN and Infinity are not JSON numbers"),
    ],
    ids=["Ansor", "MetaSchedule", "its workloads", "byte order mark", "NaN"],
)
def test_what_is_no_autotvm_log_is_called_what_it_is(log: Path, line: str, message: str) -> None:
    log.write_text(f"{line}\n", encoding="utf-8")
    error = broken(log)
    assert message in error.message
    assert error.remedy
    assert (error.file, error.line) == (str(log), 1)


def test_the_log_version_is_told_from_the_keys_and_not_from_the_text() -> None:
    old = json.loads(OLD_ROW)
    old["i"][1], old["i"][2] = "mine", ["input"]
    assert parse_record(json.dumps(old)).input.task == "mine"
    new = row(tophub={"device": '"i"'})
    assert parse_record(json.dumps(new)).tophub.device == '"i"'
    assert is_old_row(json.dumps({**old, "tophub": {"tuner": "input"}}))
    assert not is_old_row(json.dumps({**row(), "i": 1}))


def test_records_that_can_not_be_converted_are_passed_over_by_whoever_looks_for_some(upstream: Path) -> None:
    assert len(list(read_records(upstream / "vta_v0.05.log"))) > 0
