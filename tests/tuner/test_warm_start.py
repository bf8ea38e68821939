"""Warm start: what records of other workloads and devices are good for, on real spaces and real logs."""

import math

import pytest

pytest.importorskip("xgboost", reason="needs the extra [tune]")

from tophub_registry.cost_model.features import ConfigFeatures
from tophub_registry.cost_model.learning import learn
from tophub_registry.errors import InputError
from tophub_registry.records.log import write_log
from tophub_registry.records.record import Input, Record, Result
from tophub_registry.records.target import Target
from tophub_registry.records.task import Task, tensor
from tophub_registry.templates.registry import instantiate
from tophub_registry.tuner.search import ModelSearch
from tophub_registry.tuner.warm_start import TEACHES, Experience

HERE = Target.parse("llvm -mcpu=znver4")
ELSEWHERE = Target.parse("llvm -mcpu=skylake-avx512")


def convolution(channels, size):
    args = [tensor([1, channels, size, size]), tensor([channels, channels, 3, 3])]
    return Task(task="conv2d_NCHWc.x86", args=[*args, [1, 1], [1, 1, 1, 1], [1, 1], "NCHW", "NCHW", "float32"])


def space_of(task):
    return instantiate(task.task, task.args).space


def cost(config):
    """A landscape that is alike for all workloads: blocks of 16 channels and eight pixels at a time are best."""
    wanted = {"tile_ic": 4, "tile_oc": 4, "tile_ow": 3}
    return 1e-4 * (1 + sum(abs(math.log2(config.value(name)[-1]) - log) for name, log in wanted.items()))


def record(task, config, target=HERE, seconds=None):
    return Record(
        input=Input(str(target), task.task, task.args, {}),
        config=config,
        result=Result([cost(config) if seconds is None else seconds], 0 if seconds != 1e9 else 4, 1.0, 1.6e9),
        version=0.2,
        tvm_version="0.27.0",
    )


def best_of(task):
    space = space_of(task)
    return min(map(space.config, range(len(space))), key=cost)


def experience(*records):
    known = Experience()
    for its in records:
        known.add(its)
    return known


def test_what_another_device_found_for_the_same_workload_comes_first():
    task = convolution(64, 56)
    space = space_of(task)
    theirs, like = space.config(123), convolution(64, 28)
    known = experience(record(like, best_of(like)), record(task, theirs, ELSEWHERE))
    first, *others = known.seeds(task, HERE, space, limit=9)
    assert first == 123
    assert len(others) == 1


def test_the_nearest_workloads_come_first_and_agreement_counts():
    task = convolution(64, 56)
    space = space_of(task)
    lone, agreed = (
        space.config_of({"tile_ic": [-1, ic], "tile_oc": [-1, 16], "tile_ow": [-1, 14], "unroll_kw": True})
        for ic in (1, 8)
    )
    like = [convolution(64, size) for size in (28, 14, 112)]
    known = experience(record(like[0], lone), *(record(its, agreed, ELSEWHERE) for its in like))
    assert known.seeds(task, HERE, space, limit=9) == [space.find(agreed.entity), space.find(lone.entity)]


def test_no_more_seeds_than_wanted_and_none_twice():
    task = convolution(64, 56)
    space = space_of(task)
    known = experience(*(record(task, space.config(i), Target.parse(f"llvm -mcpu=x{i}")) for i in range(30)))
    known.add(record(task, space.config(5), ELSEWHERE))
    seeds = known.seeds(task, HERE, space, limit=12)
    assert len(seeds) == len(set(seeds)) == 12
    assert seeds[0] == 5  # of two devices


def test_records_of_other_kinds_of_target_of_other_knobs_and_failures_say_nothing():
    task = convolution(64, 56)
    pointwise = Task(task=task.task, args=[task.args[0], tensor([64, 64, 1, 1]), *task.args[2:]])
    space = space_of(task)
    known = experience(
        record(task, space.config(3), Target.parse("opencl")),
        record(pointwise, space_of(pointwise).config(3)),
        record(convolution(64, 28), space_of(convolution(64, 28)).config(3), seconds=1e9),
    )
    assert known.seeds(task, HERE, space, limit=9) == []


def test_few_records_teach_nothing_and_a_workload_does_not_teach_itself():
    task, other = convolution(64, 56), convolution(64, 28)
    space = space_of(task)
    search = ModelSearch(space, features=ConfigFeatures(space, task.args, HERE))
    known = experience(*(record(task, space_of(task).config(index)) for index in range(50)))
    for index in range(TEACHES - 1):
        known.add(record(other, space_of(other).config(index)))
    assert known.lessons(task, HERE, search.features) is None
    known.add(record(other, space_of(other).config(99)))
    lessons = known.lessons(task, HERE, search.features)
    assert len(lessons.speeds) == TEACHES


def test_taught_by_others_the_first_batch_is_good():
    task, others = convolution(64, 56), [convolution(128, 28), convolution(64, 28), convolution(32, 56)]
    known = experience(
        *(record(its, space_of(its).config(index)) for its in others for index in range(0, len(space_of(its)), 7))
    )
    space = space_of(task)
    features = ConfigFeatures(space, task.args, HERE)
    search = ModelSearch(space, features=features, lessons=lambda its: known.lessons(task, HERE, its))
    costs = sorted(cost(space.config(index)) for index in range(len(space)))
    assert min(cost(space.config(index)) for index in search.propose(8)) <= costs[4]


def test_with_a_cost_model_the_first_batch_is_good_and_its_favourite_neighbour_comes_first():
    task, others = convolution(64, 56), [convolution(128, 28), convolution(64, 28), convolution(32, 56)]
    trials = [record(its, space_of(its).config(i)) for its in others for i in range(0, len(space_of(its)), 7)]
    space = space_of(task)
    features = ConfigFeatures(space, task.args, HERE)
    known = Experience(learn(trials, "llvm"))
    search = ModelSearch(space, features=features, prior=known.prior(task, features))
    costs = sorted(cost(space.config(index)) for index in range(len(space)))
    assert min(cost(space.config(index)) for index in search.propose(8)) <= costs[4]
    lone, agreed = space_of(others[1]).config(3), best_of(others[1])
    for its, target in ((lone, HERE), (lone, ELSEWHERE), (agreed, Target.parse("llvm -mcpu=x"))):
        known.add(record(convolution(64, 28), its, target))
    first, *_ = known.seeds(task, HERE, space, limit=9)
    assert space.config(first).value("tile_oc") == agreed.value("tile_oc")  # although two devices voted for another


def test_an_unusable_cost_model_is_told_of_and_tuning_goes_on(tmp_path):
    log, told = tmp_path / "old_v0.01.log", []
    write_log(log, [record(convolution(64, 56), best_of(convolution(64, 56)))])
    (tmp_path / "old_v0.01.model.json").write_text("{")
    known = Experience.read([log], [convolution(64, 56)], "llvm", told.append)
    assert "the cost model is damaged" in str(told)
    space = space_of(convolution(64, 56))
    assert known.prior(convolution(64, 56), ConfigFeatures(space, convolution(64, 56).args, HERE)) is None


def test_logs_are_read_and_damaged_ones_refused(tmp_path):
    task = convolution(64, 56)
    log = tmp_path / "old.log"
    write_log(log, [record(task, best_of(task), ELSEWHERE)])
    index = space_of(task).find(best_of(task).entity)
    assert Experience.read([log], [task], "llvm", pytest.fail).seeds(task, HERE, space_of(task), limit=4) == [index]
    log.write_text("nonsense\n")
    with pytest.raises(InputError, match=r"old\.log:1"):
        Experience.read([log], [task], "llvm", pytest.fail)


def test_upstreams_records_of_older_gpus_are_tried_first_on_a_new_one(upstream):
    args = [tensor([1, 64, 56, 56]), tensor([64, 64, 3, 3]), [1, 1], [1, 1, 1, 1], [1, 1], "float32"]
    task = Task(task="conv2d_nchw_winograd.cuda", args=args)
    space = space_of(task)
    known = Experience.read([upstream / "cuda_v0.08.log"], [task], "cuda", pytest.fail)
    seeds = known.seeds(task, Target.parse("cuda -model=h100"), space, limit=32)
    assert len(seeds) == 3 + 8  # what three GPUs had, then the neighbours
    assert all(0 <= index < len(space) for index in seeds)
