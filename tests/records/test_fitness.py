"""What is fit to be published is decided in one place: what validation says, merging and releasing do."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.records.rows import row, text
from tophub_registry.cli import main
from tophub_registry.records.finding import Finding
from tophub_registry.records.fitness import Policy, refusal
from tophub_registry.records.log import read_records
from tophub_registry.records.merge import merge_logs
from tophub_registry.records.speed_limit import quickest
from tophub_registry.records.target import Target
from tophub_registry.records.validate import validate_log
from tophub_registry.templates.validation import check_space

POLICY = Policy((check_space,))

OLD = (
    '{"i": ["llvm -mcpu=znver4", "topi_nn_dense", [], {}, null, {"i": 1, "t": "direct", "c": null, "e": []}],'
    ' "r": [[0.001], 0, 1.5, 1570000000.0], "v": 0.1}'
)


def other_blocks(block: int) -> str:
    """Return a row whose blocks of input channels are of this size."""
    value = row()
    value["config"]["entity"][0][2] = [-1, block]
    return json.dumps(value)


UNFIT = {
    "speed": text(costs=[2.5e-11]),
    "time": text(timestamp=time.time() + 10 * 86400),
    "failed": text(error_no=4, costs=[1e9]),
    "version": OLD,
    "package": text(target="cuda -model=h100"),
    "space": other_blocks(5),
    "json": "{",
    "shape": "[]",
    "cost": text(costs=[0.0]),
    "target": text(target="cuda -"),
}
"""By the rule that says so: rows that no package may have, after a fit one."""


def write(path: Path, *rows: str) -> Path:
    path.write_text("".join(f"{each}\n" for each in rows))
    return path


def run(*arguments: object) -> int:
    with pytest.raises(SystemExit) as ended:
        main([*map(str, arguments)])
    return int(ended.value.code or 0)


@pytest.mark.parametrize("rule", UNFIT)
def test_one_such_row_makes_a_log_unfit_and_is_named(rule, tmp_path, capsys):
    log = write(tmp_path / "new.log", text(), UNFIT[rule])
    package, unfit = refusal(log, POLICY)
    assert package == "llvm"
    assert unfit is not None
    assert (unfit.rule, unfit.line) == (rule, 2)
    run("validate", log)
    said = capsys.readouterr().out.splitlines()[-1]
    assert f"not fit to be released: line 2: {unfit.message}" in said
    assert run("release", "llvm", log, "--registry", tmp_path / "registry") == 1
    assert f"tophub: error: {log}:2: {unfit.message}" in capsys.readouterr().err
    assert not (tmp_path / "registry").exists()


def test_an_empty_log_and_one_of_comments_alone_are_unfit(tmp_path):
    for rows in ((), ("# nothing",)):
        log = write(tmp_path / "new.log", *rows)
        empty = Finding("empty", "the log has no records", remedy="is it the right file? `tophub tune` writes records")
        assert refusal(log, POLICY) == (None, empty)
        validation = validate_log(log, together=False)
        assert validation.unfit == empty
        assert (validation.errors, [each.rule for each in validation.findings]) == (1, ["empty"])


def test_a_fit_log_is_said_to_be_one_and_for_what(tmp_path, capsys):
    log = write(tmp_path / "new.log", "# mine", text())
    run("validate", log)
    assert capsys.readouterr().out.splitlines()[-1].endswith("0 errors, 1 warning; fit to be released as llvm")
    run("validate", log, "--json")
    (said,) = json.loads(capsys.readouterr().out)["logs"]
    assert (said["package"], said["unfit"]) == ("llvm", None)
    assert run("release", "llvm", log, "--registry", tmp_path / "registry") == 0


@pytest.mark.parametrize("order", [0, 1])
@pytest.mark.parametrize("rule", ["speed", "time", "space"])
def test_merging_drops_what_is_unfit_and_counts_it_and_prefers_no_such_cost(rule, order, tmp_path):
    good = write(tmp_path / "good.log", text(costs=[2.5e-3]))
    unfit = json.loads(UNFIT[rule])
    unfit["result"][0] = unfit["result"][0] if rule == "speed" else [1e-3]
    bad = write(tmp_path / "bad.log", json.dumps(unfit))
    logs = (good, bad) if order else (bad, good)
    report = merge_logs(logs[0], logs[1:], tmp_path / "out.log", policy=POLICY)
    assert (report.dropped.unfit, report.written, report.dropped.total) == (1, 1, 1)
    assert [(each.file, each.line) for each in report.left_out] == [(str(bad), 1)]
    (kept,) = read_records(tmp_path / "out.log")
    assert kept.mean_cost == 2.5e-3


def test_tensor_cores_may_be_faster_than_the_others_of_a_device():
    data, kernel = ["TENSOR", [1, 256, 56, 56], "float32"], ["TENSOR", [256, 256, 3, 3], "float32"]
    args = [data, kernel, [1, 1], [1, 1, 1, 1], [1, 1], "float32"]
    target = Target.parse("cuda -model=h100")
    plain, ours = (quickest(target, f"{task}.cuda", args) for task in ("conv2d_nchw", "conv2d_nchw_mma_float16"))
    assert 0 < ours < plain / 10


def test_records_of_other_packages_are_left_out_on_request(tmp_path, capsys):
    log = write(tmp_path / "new.log", text(), UNFIT["package"], text(channels=128))
    assert run("release", "llvm", log, "--registry", tmp_path / "registry", "--drop-others") == 0
    assert "records that do not belong to llvm (line 2)" in capsys.readouterr().err
    assert len(list(read_records(tmp_path / "registry" / "llvm_v0.01.log"))) == 2
    log = write(tmp_path / "new.log", UNFIT["package"], text(), text(error_no=4, costs=[1e9]))
    assert run("release", "llvm", log, "--registry", tmp_path / "registry", "--drop-others") == 1
    assert f"{log}:3: the record of a failed measurement" in capsys.readouterr().err


def test_what_belongs_to_a_phone_or_an_accelerator_is_not_cuda_s(cases, tmp_path, capsys):
    log = cases / "devices.log"
    assert run("release", "cuda", log, "--registry", tmp_path / "registry") == 1
    assert "belongs to the package" in capsys.readouterr().err


ROWS = [text(channels=64), text(channels=128), text(channels=64, costs=[1.0]), "# a comment", *UNFIT.values()]


@settings(max_examples=80, deadline=None)
@given(st.lists(st.one_of(st.integers(0, 3), st.integers(0, len(ROWS) - 1)), max_size=5))
def test_release_accepts_exactly_what_validation_calls_fit(tmp_path_factory, chosen):
    folder = tmp_path_factory.mktemp("logs")
    log = write(folder / "new.log", *(ROWS[number] for number in chosen))
    validation = validate_log(log, checks=[check_space])
    released = run("release", validation.package or "llvm", log, "--registry", folder / "registry") == 0
    assert released == (validation.unfit is None)
