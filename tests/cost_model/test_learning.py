"""Learning a cost model from trials."""

from __future__ import annotations

import random
from collections import defaultdict
from pathlib import Path

import numpy as np
import pytest

from tests.cost_model.trials import TARGET, convolution, cost, taught, trial
from tophub_registry.cost_model.features import ConfigFeatures
from tophub_registry.cost_model.learning import LEAST, learn
from tophub_registry.cost_model.model import CostModel
from tophub_registry.errors import UsageError
from tophub_registry.records.log import read_records
from tophub_registry.records.record import Record
from tophub_registry.records.target import Target

BUILTIN = Path(__file__).parents[2] / "registry_data"


def rank_correlation(one: list[float], other: list[float]) -> float:
    ranks = [np.argsort(np.argsort(values)) for values in (one, other)]
    return float(np.corrcoef(*ranks)[0, 1])


def test_it_ranks_the_configs_of_a_workload_that_it_has_not_seen() -> None:
    new = convolution(80, 28, 160)
    indices = random.Random(9).sample(range(len(new.space)), 300)
    predicted = learn(taught(), "cuda").seconds(new, indices, TARGET)
    assert predicted is not None
    actual = [cost(new, new.space.config(index)) for index in indices]
    assert rank_correlation(predicted, actual) > 0.9
    # Within a factor of two: the estimate decides between templates.
    assert abs(np.median(np.log2(np.array(predicted) / actual))) < 1


def test_what_failed_counts_as_slow() -> None:
    records = [
        trial(convolution(*record.input.args[0][1][1:3]), record.config, failed=True) if unrolled(record) else record
        for record in taught()
    ]
    new = convolution(80, 28)
    best = min(
        random.Random(9).sample(range(len(new.space)), 2000), key=lambda index: cost(new, new.space.config(index))
    )
    positions = [*new.space.positions(best)]
    place = [knob.name for knob in new.space.knobs].index("auto_unroll_max_step")
    without, with_it = (new.space.index([*positions[:place], option, *positions[place + 1 :]]) for option in (0, 2))
    times = learn(records, "cuda").seconds(new, [without, with_it], TARGET)
    assert times is not None
    assert times[1] > 4 * times[0]


def test_a_processors_vectors_are_a_feature() -> None:
    new = convolution(64, 28)
    narrow, wide = (
        ConfigFeatures(new.space, new.args, Target.parse(f"llvm -mcpu={name}")) for name in ("x86-64-v3", "x86-64-v4")
    )
    assert narrow.family == wide.family
    assert narrow([0])[0, -1] < wide([0])[0, -1]
    assert ConfigFeatures(new.space, new.args, TARGET).columns == narrow.columns - 1


def unrolled(record: Record) -> bool:
    return bool(record.config.value("auto_unroll_max_step") == 1500)


def test_the_same_trials_give_the_same_bytes(tmp_path: Path) -> None:
    for name in ("one", "two"):
        learn(taught(), "cuda").write(tmp_path / name)
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()


@pytest.mark.parametrize("kind", ["llvm", "cuda"])
def test_too_few_trials_are_refused(kind: str) -> None:
    few = [record for record in taught() if record.input.args[0][1][1] == 32]
    with pytest.raises(UsageError, match=f"no task has trials of two workloads for {kind}"):
        learn(few, kind)


@pytest.mark.slow
def test_the_published_model_is_what_the_published_trials_teach() -> None:
    (newest,) = sorted(BUILTIN.glob("cuda_v*.model.json"))[-1:]
    kept = sorted((BUILTIN.parent / "tools" / "trials").glob("cuda_v*.log.gz"))
    assert kept[-1].name == newest.name.replace(".model.json", ".log.gz")
    published = CostModel.read(newest, "cuda")
    tried: defaultdict[str, defaultdict[object, set[int]]] = defaultdict(lambda: defaultdict(set))
    for record in (record for log in kept for record in read_records(log)):
        tried[record.input.task][record.workload, record.target].add(record.config.index)
    teaching = {task: [*filter(LEAST.__le__, map(len, its.values()))] for task, its in tried.items()}
    counts = {task: sum(numbers) for task, numbers in teaching.items() if len(numbers) > 1}
    assert {task: its.trials for task, its in published.tasks.items()} == counts
