"""Search: nothing is proposed twice, everything is found in the end, and the model beats chance."""

import math
import random
import statistics

import pytest

pytest.importorskip("xgboost", reason="needs the extra [tune]")

from tophub_registry.cost_model.features import ConfigFeatures
from tophub_registry.templates.space import ConfigSpace, knob, split
from tophub_registry.tuner.search import SEARCHES

SMALL = ConfigSpace([split("x", 48, parts=2), split("y", 56, parts=2, policy="verbose"), knob("u", [True, False])])
LARGE = ConfigSpace([split("f", 512, parts=4), split("y", 56, parts=4), split("x", 56, parts=4), knob("u", [0, 512])])


def cost(space, index):
    """A landscape with a best point: tiles near 2^3, the flag set, a little noise."""
    config = space.config(index)
    distance = sum(abs(math.log2(part) - 3) for k in config.entity if k.kind == "sp" for part in k.value[1:]) + (
        0.0 if config.value("u") else 1.0
    )
    return 1e-4 * (1 + distance) * random.Random(index).uniform(0.98, 1.02)


def best_after(name, space, trials, seed, batch=8):
    search = SEARCHES[name](space, seed)
    best = math.inf
    while len(search.costs) < trials:
        for index in search.propose(batch):
            search.observe(index, cost(space, index))
            best = min(best, cost(space, index))
    return best


@pytest.mark.parametrize("name", SEARCHES)
def test_each_config_is_proposed_once_until_none_is_left(name):
    search = SEARCHES[name](SMALL, 1)
    seen = []
    while batch := search.propose(7):
        seen += batch
        for index in batch:
            search.observe(index, None if index % 5 == 0 else cost(SMALL, index))
    assert sorted(seen) == list(range(len(SMALL)))


@pytest.mark.parametrize("name", SEARCHES)
@pytest.mark.parametrize("space", [SMALL, LARGE], ids=["small", "large"])
def test_the_same_seed_makes_the_same_choices(name, space):
    def choices():
        search = SEARCHES[name](space, 3)
        chosen = []
        for _ in range(4):
            for index in search.propose(8):
                search.observe(index, cost(space, index))
                chosen.append(index)
        return chosen

    assert choices() == choices()


@pytest.mark.parametrize("space", [SMALL, LARGE], ids=["small", "large"])
def test_the_model_finds_better_configs_than_chance(space):
    trials = 40 if space is SMALL else 96
    model = statistics.mean(best_after("model", space, trials, seed) for seed in range(4))
    chance = statistics.mean(best_after("random", space, trials, seed) for seed in range(4))
    assert model < chance


def test_a_space_where_everything_fails_is_searched_to_its_end():
    search = SEARCHES["model"](ConfigSpace([knob("u", list(range(40)))]), 0)
    while batch := search.propose(8):
        for index in batch:
            search.observe(index, None)
    assert len(search.costs) == 40


def test_features_are_logarithms_of_a_splits_parts_the_options_value_and_the_workload():
    features = ConfigFeatures(ConfigSpace([split("x", 48, parts=2), knob("u", [0, 512])]))
    space = features.space
    index = space.index([space.knobs[0].position([-1, 16]), 1])
    parts, covered, aligned, option, axis = [math.log2(3), 4.0], 0.0, 4.0, 512.0, math.log2(49)
    assert features([index]).tolist() == [pytest.approx([*parts, covered, aligned, option, axis])]


@pytest.mark.parametrize("name", SEARCHES)
@pytest.mark.parametrize("space", [SMALL, LARGE], ids=["small", "large"])
def test_what_no_device_can_run_is_never_proposed(name, space):
    search = SEARCHES[name](space, 1, lambda index: index % 7 == 0)
    for _ in range(3):
        batch = search.propose(8)
        assert len(batch) == 8
        assert all(index % 7 == 0 for index in batch)
        for index in batch:
            search.observe(index, cost(space, index))


def test_a_space_that_no_device_can_run_ends_the_search():
    for space in (SMALL, LARGE):
        assert SEARCHES["model"](space, 1, lambda _: False).propose(8) == []
