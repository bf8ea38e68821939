"""A record that is fast and wrong is withdrawn for good: no later merge brings it back."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.records.rows import record, text
from tophub_registry.cli import main
from tophub_registry.errors import UsageError
from tophub_registry.publishing.release import release
from tophub_registry.records.families import keyed
from tophub_registry.records.log import read_records, read_rows
from tophub_registry.records.merge import merge_logs
from tophub_registry.records.withdrawal import withdraw, withdrawals

WRONG, SLOW, OTHER = text(costs=[1e-3], tile_ow=14), text(costs=[2e-3]), text(channels=128)


def write(path: Path, *rows: str) -> Path:
    path.write_text("".join(f"{each}\n" for each in rows))
    return path


def test_it_is_gone_and_no_merge_brings_it_back_in_whatever_order(tmp_path):
    log = write(tmp_path / "llvm_v0.01.log", "# mine", WRONG, OTHER)
    with pytest.raises(SystemExit) as ended:
        main(["withdraw", str(log), "--line", "2", "--reason", "wrong results with odd widths"])
    assert not ended.value.code
    after = tmp_path / "llvm_v0.02.log"
    assert [each.input.args[0][1][1] for each in read_records(after)] == [128]
    again = write(tmp_path / "again.log", WRONG, SLOW, text(costs=[1e-4], tile_ow=14))
    results = []
    for number, logs in enumerate(([after, again], [again, after], [again, log, after])):
        report = merge_logs(logs[0], logs[1:], tmp_path / f"{number}.log")
        assert report.dropped.withdrawn >= 2
        results.append((tmp_path / f"{number}.log").read_bytes())
    assert results[0] == results[1] == results[2]
    kept = {each.input.args[0][1][1]: each.mean_cost for each in read_records(tmp_path / "0.log")}
    assert kept[64] == 2e-3
    # It stays so: the comment is in the result too.
    merge_logs(tmp_path / "0.log", [again], tmp_path / "later.log")
    assert (tmp_path / "later.log").read_bytes() == results[0]
    comments = [row.comment for row in read_rows(tmp_path / "later.log") if row.comment]
    assert any("wrong results with odd widths" in comment for comment in comments)


def test_nothing_unreleased_is_left_in_a_registry(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    release("llvm", write(tmp_path / "new.log", WRONG, OTHER), tmp_path / "registry")
    before = sorted(path.name for path in (tmp_path / "registry").iterdir())
    (log,) = (tmp_path / "registry").glob("llvm_v*.log")
    with pytest.raises(SystemExit) as ended:
        main(["withdraw", f"registry/{log.name}", "--line", "1", "--reason", "wrong results"])
    assert not ended.value.code
    assert sorted(path.name for path in (tmp_path / "registry").iterdir()) == before
    assert "`tophub release llvm llvm_v0.02.log --registry registry` publishes it" in capsys.readouterr().err
    with pytest.raises(SystemExit) as ended:
        main(["release", "llvm", "llvm_v0.02.log", "--registry", "registry"])
    assert not ended.value.code


def test_a_family_among_the_keys_makes_no_difference(tmp_path):
    log = write(tmp_path / "a.log", WRONG)
    withdraw(log, [1], "wrong", tmp_path / "b.log")
    spelled = record(costs=[1e-3], tile_ow=14)
    spelled = spelled.model_copy(update={"input": spelled.input._replace(target=str(keyed(spelled.target)))})
    report = merge_logs(tmp_path / "b.log", [write(tmp_path / "c.log", spelled.to_json(), SLOW)], tmp_path / "d.log")
    assert (report.dropped.withdrawn, report.written) == (1, 1)


@pytest.mark.parametrize(("line", "reason"), [(9, "wrong"), (1, "wrong"), (2, " "), (2, "two\nlines")])
def test_what_is_no_record_or_no_reason_changes_nothing(tmp_path, line, reason):
    log = write(tmp_path / "a.log", "# a comment", WRONG)
    with pytest.raises(UsageError):
        withdraw(log, [line], reason, tmp_path / "b.log")
    assert not (tmp_path / "b.log").exists()


def test_a_comment_that_only_looks_like_one_withdraws_nothing(tmp_path):
    lines = ["# withdrawn: {", "# withdrawn: []", "# withdrawn: " + json.dumps({"target": "cuda -"}), "# withdrawn"]
    assert withdrawals([write(tmp_path / "a.log", *lines, WRONG)]) == {}
