"""Level `space`: whatever real AutoTVM accepts passes, and whatever was falsified is caught."""

import json
import random

import pytest

from tophub_registry.errors import InputError
from tophub_registry.records.log import read_records
from tophub_registry.records.rows import parse_record
from tophub_registry.templates.registry import TEMPLATES, instantiate
from tophub_registry.templates.validation import check_space

FALSIFIED = 1000


@pytest.fixture(scope="module")
def rows(upstream):
    return [record for record in read_records(upstream / "llvm_v0.04.log") if record.input.task in TEMPLATES]


def rules(row):
    """Return the rules that a row breaks; `row` where it is no record at all."""
    try:
        record = parse_record(json.dumps(row))
    except InputError:
        return {"row"}
    return {finding.rule for finding in check_space(record)}


def test_no_false_alarm_on_upstreams_rows(rows):
    assert len(rows) == 35
    for record in rows:
        assert {finding.rule for finding in check_space(record)} <= {"index"}


def test_no_false_alarm_on_our_own_rows(registry):
    for path in registry.glob("*.log"):
        for record in read_records(path):
            assert list(check_space(record)) == []


def falsify(row, rng):
    """Change one knob's name, kind, value, or one factor of a split, into something the space does not have."""
    entity = row["config"]["entity"]
    knob = rng.choice(entity)
    space = {k.name: k for k in instantiate(row["input"][1], row["input"][2]).space.knobs}[knob[0]]
    ways = ["name", "kind", "drop", "twice", "type"] + (["factor", "parts"] if knob[1] == "sp" else ["value"])
    way = rng.choice(ways)
    if way == "name":
        knob[0] += "x"
    elif way == "kind":
        knob[1] = rng.choice(sorted({"sp", "ot", "re", "an"} - {knob[1]}))
    elif way == "drop":
        entity.remove(knob)
    elif way == "twice":
        entity.append(json.loads(json.dumps(knob)))
    elif way == "type":
        knob[2] = rng.choice([None, "16", 1.5, {"a": 1}, [[1]], [1.0, 16.0], []])
    elif way == "value":
        knob[2] = rng.choice([3, -1, 17, "none"])
    elif way == "parts":
        knob[2] = [*knob[2], 1]
    else:
        place = rng.randrange(len(knob[2]))
        choices = [f for f in range(1, 200) if f != knob[2][place]]
        if place > 0:
            known = {tuple(option[1:]) for option in space.options}
            choices = [f for f in choices if (*knob[2][1:place], f, *knob[2][place + 1 :]) not in known]
        knob[2][place] = rng.choice(choices)
    return row


def test_a_thousand_falsified_rows_are_caught(rows):
    rng = random.Random(5)
    for _ in range(FALSIFIED):
        row = falsify(json.loads(rng.choice(rows).to_json()), rng)
        assert rules(row) & {"row", "space"}, row["config"]


def test_every_falsified_index_is_warned_of(rows):
    rng = random.Random(6)
    for record in rows:
        row = json.loads(record.to_json())
        space = instantiate(record.input.task, record.input.args).space
        right = space.find(record.config.entity)
        row["config"]["index"] = right
        assert rules(row) == set()
        for _ in range(20):
            row["config"]["index"] = rng.choice([-1, len(space), *(i for i in range(len(space)) if i != right)])
            assert rules(row) == {"index"}


def test_arguments_that_do_not_fit_the_template_are_caught(rows):
    row = json.loads(rows[0].to_json())
    row["input"][2][1] = ["TENSOR", [64, 5, 7, 7], "float32"]
    assert rules(row) == {"space"}


def test_a_task_without_a_template_is_left_alone(rows):
    row = json.loads(rows[0].to_json())
    row["input"][1] = "conv3d_ndhwc.x86"
    assert rules(row) == {"unchecked"}
