"""A log is untrusted text: whatever stands in it, there is an outcome or one of our errors, in bounded memory."""

from __future__ import annotations

import contextlib
import copy
import json
import random
import tracemalloc
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.conftest import examples
from tests.records.rows import row
from tests.records.test_conversion import ARM, CASES, old_row
from tophub_registry.errors import InputError, TophubError
from tophub_registry.records.appender import LogAppender
from tophub_registry.records.audit import audit
from tophub_registry.records.conversion import to_old
from tophub_registry.records.convert import convert_log
from tophub_registry.records.diff import compare
from tophub_registry.records.log import Line, parse_row, read_rows
from tophub_registry.records.merge import merge_logs
from tophub_registry.records.rows import MAX_LINE, parse_record
from tophub_registry.records.skim import Skimmer
from tophub_registry.records.summary import summarise
from tophub_registry.records.target import Target
from tophub_registry.records.task import TaskFile, describe
from tophub_registry.records.validate import validate_log

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

INPUTS = 10_000
LINES = 5

SOUND = [
    row(),
    row(tophub={"device": "x", "threads": 2, "tuner": "t", "converted": {"log_version": 0.1, "task": ["t", [], {}]}}),
    row(target=ARM, task="conv2d_nchw_spatial_pack.arm_cpu", error_no=4, costs=[1e9]),
    *(old_row(*case[:4]) for case in CASES[::5]),
]

STRANGE: list[Any] = [
    None,
    True,
    0,
    -1,
    1.5,
    10**400,
    1e300,
    float("nan"),
    float("-inf"),
    "",
    "NaN",
    "cuda -model='",
    "\ud800",
    "x" * 3000,
    [],
    [[]],
    ["TENSOR"],
    ["TENSOR", [0, -1], 3],
    ["TENSOR", [10**30] * 4, "float32"],
    {},
    {"i": {"input": []}},
    json.loads("[" * 150 + "]" * 150),
]


def changed(value: Any, chance: random.Random) -> Any:
    """Return a JSON value with something strange, missing or twice somewhere inside it."""
    value = copy.deepcopy(value)
    place = value
    while True:
        keys = list(place) if isinstance(place, dict) else list(range(len(place)))
        if not keys:
            return value
        key = chance.choice(keys)
        if isinstance(place[key], (list, dict)) and chance.random() < 0.8:
            place = place[key]
            continue
        match chance.randrange(4):
            case 0:
                del place[key]
            case 1 if isinstance(place, list):
                place.insert(key, copy.deepcopy(place[key]))
            case 2 if isinstance(place, dict):
                place[chance.choice(["i", "input", "tophub", "x", ""])] = place.pop(key)
            case _:
                place[key] = copy.deepcopy(chance.choice(STRANGE))
        return value


def line(chance: random.Random) -> bytes:
    """Return a line that may have come from anywhere."""
    kind = chance.randrange(10)
    if kind == 0:
        return chance.randbytes(chance.randrange(200)).replace(b"\n", b" ")
    value = chance.choice(SOUND)
    for _ in range(chance.randrange(3) if kind < 3 else 1):
        value = changed(value, chance)
    text = json.dumps(value).encode()
    if kind < 3:  # bytes, too
        place = chance.randrange(len(text))
        text = text[:place] + chance.randbytes(chance.randrange(4)).replace(b"\n", b"") + text[place + kind :]
    return text


def looked_at(text: bytes) -> None:
    """Do with a line all that is done with lines."""
    with contextlib.suppress(TophubError):
        record = parse_row(Line(1, text, whole=True), file="x").record
        if record is not None:
            assert json.loads(record.to_json())["input"] == list(record.input)
            assert parse_record(record.to_json()) == record
            describe(record.input.task, record.input.args)
            Skimmer().skim(Line(1, text, whole=True), "x")
            to_old(record)


@settings(max_examples=examples(INPUTS) // LINES, deadline=None)
@given(st.integers(0, 2**64))
def test_lines(tmp_path_factory: pytest.TempPathFactory, seed: int) -> None:
    chance = random.Random(seed)
    folder = tmp_path_factory.getbasetemp() / "untrusted"
    folder.mkdir(exist_ok=True)
    lines = [line(chance) for _ in range(LINES)]
    for text in lines:
        looked_at(text)
    path, output = folder / "x.log", folder / "y.log"
    path.write_bytes(b"\n".join(lines))
    validation = validate_log(path)
    assert validation.errors + validation.warnings >= len(validation.findings)
    works: list[Callable[[], object]] = [
        lambda: list(read_rows(path)),
        lambda: convert_log(path, output, to=chance.choice([0.1, 0.2])),
        lambda: merge_logs(path, [path], output, keep=chance.choice([1, 2, None])),
        lambda: compare(path, path),
        lambda: summarise([path]),
        lambda: audit([path]),
        lambda: LogAppender(path).close(),
    ]
    for work in works:
        output.unlink(missing_ok=True)
        with contextlib.suppress(TophubError):
            work()


@settings(max_examples=examples(1000), deadline=None)
@given(st.one_of(st.text(), st.from_regex(r"[a-z]+( -{1,2}[a-z]+(=|  *)['a-z0-9,+]*){0,4}", fullmatch=True)))
def test_targets(text: str) -> None:
    with contextlib.suppress(TophubError):
        target = Target.parse(text)
        assert Target.parse(str(target)) == target
        target.as_dict()


@settings(max_examples=examples(500), deadline=None)
@given(st.one_of(st.binary(), st.integers(0, 2**64)))
def test_task_files(tmp_path_factory: pytest.TempPathFactory, content: bytes | int) -> None:
    path = tmp_path_factory.getbasetemp() / "tasks.json"
    sound = {
        "schema_version": 1,
        "model": "m",
        "kind": "llvm",
        "shapes": {"data": [1]},
        "tasks": [{"task": "t", "args": [["TENSOR", [1], "float32"]], "kwargs": {}, "count": 1, "layers": ["l"]}],
    }
    path.write_bytes(
        content if isinstance(content, bytes) else json.dumps(changed(sound, random.Random(content))).encode()
    )
    with contextlib.suppress(TophubError):
        for task in TaskFile.read(path).tasks:
            assert task.workload
            assert str(task)


def old_with(task: str, argument: str, key: str) -> str:
    config = {"i": 1, "t": "direct", "c": None, "e": [], key: "direct"}
    return json.dumps({"i": ["cuda", task, [argument], {}, None, config], "r": [[0.1], 0, 1, 1], "v": 0.1})


@pytest.mark.parametrize(
    "text",
    [
        old_with("topi_nn_dense", "x", "\x1b[2J"),
        old_with("topi_nn_dense", "\x1b[2J\u202e\n", "t"),
        old_with("topi_" + "x" * 60_000, "x", "t"),
        old_with("topi_nn_dense", "x", "k" * 60_000),
    ],
    ids=["key", "argument", "long task", "long key"],
)
def test_errors_that_quote_a_row_are_one_short_line(text: str) -> None:
    with pytest.raises(InputError) as caught:
        parse_record(text)
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 3000


@pytest.mark.parametrize("number", ["NaN", "-Infinity", "1e999"])
def test_task_files_have_json_numbers_only(tmp_path: Path, number: str) -> None:
    path = tmp_path / "tasks.json"
    tasks = f'[{{"task": "t", "args": [1, [{number}]]}}]'
    path.write_text(f'{{"model": "m", "kind": "llvm", "shapes": {{}}, "tasks": {tasks}}}', encoding="utf-8")
    with pytest.raises(InputError, match="not JSON numbers"):
        TaskFile.read(path)


@pytest.mark.parametrize(
    "content",
    [
        b"[" * MAX_LINE,
        b"{" * (4 * MAX_LINE),
        b'{"input": [' + b"NaN," * 16_000 + b"1]}",
        b'{"input": ["llvm", "t", [' + b"[1e999]," * 8_000 + b"1], {}]}",
        b'{"result": [[' + b'"x",' * 16_000 + b"1]]}",
        b'{"input": ["' + b"\\u0041" * 10_000 + b'"]}',
        b"\t".join([b"A" * 16_000] * 4),
        b"#" * (4 * MAX_LINE),
        b"9" * MAX_LINE,
    ],
)
def test_memory_is_bounded_by_the_line(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "x.log"
    path.write_bytes(content + b"\n" + content)
    tracemalloc.start()
    try:
        validate_log(path)
        with contextlib.suppress(TophubError):
            list(read_rows(path))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 16 << 20
