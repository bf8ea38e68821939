"""The laws of merging, and that nothing is lost without being counted."""

from __future__ import annotations

import itertools
import json
import random
from collections import Counter
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from tests.conftest import examples
from tests.records.rows import row
from tests.records.test_conversion import CONV, old_row
from tophub_registry.errors import InputError
from tophub_registry.records.log import Line
from tophub_registry.records.merge import Merger, MergeReport
from tophub_registry.records.record import Cost
from tophub_registry.records.rows import parse_record
from tophub_registry.records.skim import Skimmer

laws = settings(max_examples=max(examples(500), settings.default.max_examples), deadline=None)

# Few values each, so that keys, costs and whole rows meet often; equal ones come in several spellings.
targets = st.sampled_from(
    ["llvm -mcpu=a -model=b", "llvm -model=b -mcpu=a", "llvm -mcpu=a -model b", "llvm -mcpu=c", "cuda"]
)
costs = st.sampled_from([[0.001], [0.00101], [0.002], [0.001, 0.003], [0.003, 0.001], [0.0015], [2e-05], [1]])
measured: dict[str, st.SearchStrategy[Any]] = {
    "target": targets,
    "channels": st.sampled_from([64, 128]),
    "costs": costs,
    "error_no": st.sampled_from([0, 0, 0, 0, 4]),
    "tile_ow": st.sampled_from([1, 8]),
    "timestamp": st.sampled_from([1767225600.0, 1767225601.5, -1]),
}
ranks = st.sampled_from([{"rank": "replayed"}, {"rank": "reproduced"}, {"rank": "unheard of"}])
values = st.one_of(st.builds(row, **measured), st.builds(row, **measured, tophub=ranks))


def spell(value: dict[str, Any], style: int) -> bytes:
    """Return the same JSON value in one of several spellings."""
    if style == 1:
        return json.dumps(value, separators=(",", ":")).encode()
    if style == 2:
        return json.dumps(dict(reversed(value.items()))).encode()
    if style == 3:
        return json.dumps(value).replace("0.001", "0.0010").encode()
    return json.dumps(value).encode()


# Rows of log version 0.1, and one of them that no rule knows.
older = st.builds(
    lambda target, strides, cost: (
        old_row(target, "topi_nn_conv2d", "direct", [*CONV[:2], strides, *CONV[3:]])
        | {"r": [cost, 0, 1.5, 1535423916.7]}
    ),
    st.sampled_from(["cuda", "cuda -model=a", "hexagon"]),
    st.sampled_from([[1, 1], 1, [2, 2]]),
    costs,
)

rows = st.one_of(st.builds(spell, values, st.sampled_from([0, 0, 0, 1, 2, 3])), st.builds(spell, older, st.just(0)))
comments = st.sampled_from([b"# a", b"# B", b"# c", b"#"])
logs = st.lists(st.one_of(rows, rows, rows, comments), max_size=8)
keeps = st.sampled_from([1, 1, 2, 3, None])


def merge(keep: int | None, *logs: list[bytes]) -> list[bytes]:
    return merged(keep, *logs)[0]


def merged(keep: int | None, *logs: list[bytes], **options: Any) -> tuple[list[bytes], MergeReport]:
    merger = Merger(keep=keep, **options)
    for number, log in enumerate(logs):
        merger.add((Line(n, text, whole=True) for n, text in enumerate(log, 1)), f"{number}.log", old=number == 0)
    return list(merger.lines()), merger.report()


@laws
@given(keeps, logs, logs)
def test_commutative(keep: int | None, one: list[bytes], other: list[bytes]) -> None:
    assert merge(keep, one, other) == merge(keep, other, one)


@laws
@given(keeps, logs, logs, logs)
def test_associative(keep: int | None, one: list[bytes], two: list[bytes], three: list[bytes]) -> None:
    together = merge(keep, one, two, three)
    assert merge(keep, merge(keep, one, two), three) == together
    assert merge(keep, one, merge(keep, two, three)) == together


@laws
@given(keeps, logs)
def test_idempotent(keep: int | None, log: list[bytes]) -> None:
    once = merge(keep, log)
    assert merge(keep, once) == once
    assert merge(keep, once, once) == once
    assert merge(keep, log, once) == once


@laws
@given(keeps, logs, st.randoms(use_true_random=False))
def test_the_order_of_rows_does_not_matter(keep: int | None, log: list[bytes], chance: random.Random) -> None:
    shuffled = list(log)
    chance.shuffle(shuffled)
    lines, report = merged(keep, log)
    other_lines, other_report = merged(keep, shuffled)
    assert lines == other_lines
    assert replace(report, left_out=()) == replace(other_report, left_out=())


@laws
@given(keeps, logs, logs, st.sampled_from([None, 0.0, 10.0, 60.0]))
def test_nothing_is_lost_without_being_counted(
    keep: int | None, one: list[bytes], other: list[bytes], min_gain: float | None
) -> None:
    lines, report = merged(keep, one, other, min_gain=min_gain)
    read = [text for text in one + other if not text.startswith(b"#")]
    written = [text for text in lines if not text.startswith(b"#")]
    assert report.read == len(read)
    assert report.written == len(written) == report.added + report.improved + report.kept
    assert report.read == report.written + report.dropped.total
    known = [parse_record(text) for text in read if b"hexagon" not in text]
    assert report.dropped.unconvertible == len(report.left_out) == len(read) - len(known)
    assert report.dropped.failed == sum(not record.valid for record in known)
    assert report.comments == len(lines) - len(written) == len({text for text in one + other if text.startswith(b"#")})
    assert report.comments + report.comments_repeated == len(one + other) - len(read)
    assert report.implausible_times == sum(record.result.timestamp < 0 for record in known)
    if min_gain is None:
        assert report.dropped.small_gain == 0


@laws
@given(keeps, logs, logs)
def test_what_is_kept_is_the_best_there_is(keep: int | None, one: list[bytes], other: list[bytes]) -> None:
    best: dict[tuple[object, str], set[tuple[Cost, str]]] = {}
    for text in one + other:
        if not text.startswith(b"#") and b"hexagon" not in text:
            record = parse_record(text)
            if record.valid:
                best.setdefault((record.target, record.workload), set()).add((record.cost, record.to_json()))
    expected = Counter(text for group in best.values() for _, text in sorted(group)[:keep])
    assert Counter(text.decode() for text in merge(keep, one, other) if not text.startswith(b"#")) == expected


@laws
@given(logs, logs)
def test_the_report_tells_old_from_new(old: list[bytes], new: list[bytes]) -> None:
    _, report = merged(1, old, new)
    before = merged(1, old)[1]
    assert before.added == before.improved == 0
    assert before.kept == before.written
    assert report.kept + report.improved == before.written
    assert len(report.changes) == report.added + report.improved
    # Of costs that are about the same, the higher may be better confirmed.
    assert all(change.before is None or change.after < 1.032 * change.before for change in report.changes)


@laws
@given(logs, logs, st.sampled_from([1, 2, None]))
def test_a_minimal_gain_keeps_the_old_best_unless_it_is_reached(
    old: list[bytes], new: list[bytes], keep: int | None
) -> None:
    _, report = merged(keep, old, new, min_gain=40.0)
    for change in report.changes:
        if change.before is not None:
            assert change.after <= 0.6 * change.before


# The quick way of reading accepts nothing that the thorough one refuses, and finds the same in it.

plain = json.dumps(row(tophub={"device": "x", "threads": 2})).encode()


@settings(max_examples=examples(3000), deadline=None)
@given(
    st.integers(0, len(plain) - 1),
    st.one_of(
        st.binary(max_size=2), st.sampled_from([b'"', b"-", b"0", b"[", b", ", b"NaN", b"e9", b"1e400", b"true"])
    ),
    st.integers(0, 3),
)
def test_skimming_agrees_with_parsing(place: int, inserted: bytes, removed: int) -> None:
    text = (plain[:place] + inserted + plain[place + removed :]).strip()
    assume(text and not text.startswith(b"#"))
    skimmer = Skimmer()
    skimmer.skim(Line(1, plain, whole=True), "x.log")
    try:
        skimmed = skimmer.skim(Line(2, text, whole=True), "x.log")
    except InputError:
        with pytest.raises(InputError):
            parse_record(text)
        return
    record = parse_record(text)
    assert (skimmed.key.target, skimmed.key.workload) == (record.target, record.workload)
    assert (skimmed.cost, skimmed.failed) == (record.cost, not record.valid)
    assert skimmed.timestamp == record.result.timestamp


def test_a_row_in_the_usual_spelling_is_parsed_once_for_each_input() -> None:
    skimmer = Skimmer()
    parsed = [
        skimmer.skim(Line(1, json.dumps(row(channels=channels, costs=[cost])).encode(), whole=True), "x").record
        for cost, channels in itertools.product([0.1, 0.2, 3e-05], [64, 128])
    ]
    assert [record is not None for record in parsed] == [True, True, False, False, False, False]


@pytest.mark.parametrize(("first", "second"), [("1", "true"), ("1", "1.0"), ("0", "false")])
def test_inputs_that_python_calls_equal_are_different_workloads(first: str, second: str) -> None:
    skimmer = Skimmer()
    one, other = (
        skimmer.skim(Line(1, json.dumps(row(channels=4711)).replace("4711", value).encode(), whole=True), "x").key
        for value in (first, second)
    )
    assert one != other
