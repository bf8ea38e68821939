"""Cost models in files: written, read back, and refused where they are damaged or made for something else."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xgboost

from tests.cost_model.trials import TARGET, convolution, taught
from tophub_registry.cost_model import features
from tophub_registry.cost_model.learning import learn
from tophub_registry.cost_model.model import CostModel
from tophub_registry.errors import InputError
from tophub_registry.packages import index

TASK = "conv2d_nchw.cuda"
NEW = convolution(80, 28)
SOME = [*range(0, len(NEW.space), len(NEW.space) // 97)]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("model") / "a.model.json"
    learn(taught(), "cuda").write(path)
    return path


def test_what_is_read_predicts_what_was_written(made: Path) -> None:
    assert CostModel.read(made, "cuda").seconds(NEW, SOME, TARGET) == learn(taught(), "cuda").seconds(NEW, SOME, TARGET)


def test_the_file_holds_boosters_that_any_xgboost_reads(made: Path) -> None:
    (written,) = json.loads(made.read_bytes())["tasks"].values()
    booster = xgboost.Booster()
    booster.load_model(bytearray(json.dumps(written["booster"]).encode()))
    rows = features.ConfigFeatures(NEW.space, NEW.args)(SOME)
    ours = CostModel.read(made, "cuda").tasks[TASK].speeds(rows)
    np.testing.assert_array_equal(booster.inplace_predict(rows), ours)


def test_another_task_and_other_knobs_are_unknown(made: Path) -> None:
    model = CostModel.read(made, "cuda")
    assert model.of("dense_small_batch.gpu", features.ConfigFeatures(NEW.space, NEW.args)) is None
    assert model.of(TASK, features.ConfigFeatures(NEW.space, NEW.args[:2])) is None


def test_a_model_of_few_workloads_says_nothing_where_more_are_asked_for(made: Path) -> None:
    model = CostModel.read(made, "cuda")
    known = model.tasks[TASK].workloads
    assert model.seconds(NEW, SOME, TARGET, known) is not None
    assert model.seconds(NEW, SOME, TARGET, known + 1) is None


def trees(model: dict[str, Any]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = model["tasks"][TASK]["booster"]["learner"]["gradient_booster"]["model"]["trees"]
    return found


def tree(model: dict[str, Any]) -> dict[str, Any]:
    return trees(model)[3]


DAMAGES: dict[str, tuple[Callable[[dict[str, Any]], object], str]] = {
    "a later version": (lambda m: m.update(schema_version=2), "the cost model is of version 2 with features 1"),
    "other features": (lambda m: m.update(features=7), "the cost model is of version 1 with features 7"),
    "another kind of target": (lambda m: m.update(kind="llvm"), "the cost model is for llvm, not for cuda"),
    "a child that is no node": (lambda m: tree(m)["left_children"].__setitem__(0, 900), "the children of node 0"),
    "a node that is its own child": (lambda m: tree(m)["right_children"].__setitem__(0, 0), "the children of node 0"),
    "one child": (lambda m: tree(m)["left_children"].__setitem__(0, -1), "the children of node 0"),
    "lists of two lengths": (lambda m: tree(m)["split_indices"].pop(), "differ in length"),
    "a feature beyond the last": (lambda m: tree(m)["split_indices"].__setitem__(0, 500), "not among the"),
    "a threshold that is no number": (lambda m: tree(m)["split_conditions"].__setitem__(0, float("nan")), "finite"),
    "an empty tree": (lambda m: tree(m).update(left_children=[], right_children=[]), "at least 1 item"),
    "too many trees": (lambda m: trees(m).extend(trees(m) * 7), "at most 2000 items"),
    "another booster": (
        lambda m: m["tasks"][TASK]["booster"]["learner"]["gradient_booster"].update(name="dart"),
        "should be 'gbtree'",
    ),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_model_that_can_not_be_used_gets_one_clear_error(damage: str, made: Path, tmp_path: Path) -> None:
    change, said = DAMAGES[damage]
    model = json.loads(made.read_bytes())
    change(model)
    path = tmp_path / "bad.model.json"
    path.write_text(json.dumps(model))
    with pytest.raises(InputError, match=said) as caught:
        CostModel.read(path, "cuda")
    assert caught.value.file == str(path)
    assert "compiling works without it" in (caught.value.remedy or "")


@pytest.mark.parametrize("data", [b"", b"{", b"[]", b"null", b"\xff\xfe", b'{"schema_version": 1}'])
def test_what_is_no_model_at_all(data: bytes, tmp_path: Path) -> None:
    path = tmp_path / "bad.model.json"
    path.write_bytes(data)
    with pytest.raises(InputError, match="the cost model is damaged"):
        CostModel.read(path, "cuda")


def test_a_file_that_is_too_large_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "large.model.json"
    with path.open("wb") as stream:
        stream.truncate(index.MAX_MODEL + 1)
    with pytest.raises(InputError, match="larger than 32 MiB"):
        CostModel.read(path, "cuda")


@pytest.mark.parametrize("number", [-1e300, -1e5, 1e5, 1e300])
def test_absurd_numbers_in_trees_give_absurd_times_and_no_error(number: float, made: Path, tmp_path: Path) -> None:
    model = json.loads(made.read_bytes())
    tree(model)["split_conditions"] = [number] * len(tree(model)["split_conditions"])
    path = tmp_path / "bad.model.json"
    path.write_text(json.dumps(model))
    times = CostModel.read(path, "cuda").seconds(NEW, SOME, TARGET)
    assert times is not None
    assert all(0 < seconds < float("inf") for seconds in times)


def test_random_damage_is_refused_or_harmless(made: Path, tmp_path: Path) -> None:
    rng = random.Random(4)
    whole, path = made.read_bytes(), tmp_path / "bad.model.json"
    pieces = [b"-1", b"0", b"99999999999", b"null", b"1e400", b"[]", b'"', b"}", b"2000", b"-7.5"]
    refused = 0
    for _ in range(60):
        place = rng.randrange(len(whole))
        path.write_bytes(whole[:place] + rng.choice(pieces) + whole[place + rng.randrange(4) :])
        try:
            times = CostModel.read(path, "cuda").seconds(NEW, SOME, TARGET)
        except InputError:
            refused += 1
        else:
            assert times is not None
    assert refused > 20
