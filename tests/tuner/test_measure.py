"""Measuring: a crash or a hang costs one config and becomes a result with AutoTVM's error number."""

import time

import pytest

from tests.tuner.faulty import FAULTS, Faulty
from tophub_registry.records.record import Config
from tophub_registry.records.task import tensor
from tophub_registry.templates.registry import instantiate

pytest.importorskip("tvm", reason="needs the extra [tune]")
pytest.importorskip("pebble", reason="needs the extra [tune]")

from tophub_registry.tuner.device import resolve
from tophub_registry.tuner.measure import ErrorNo, Limits, Measurer

EXPECTED = {
    "none": ErrorNo.NO_ERROR,
    "refused by the template": ErrorNo.INSTANTIATION_ERROR,
    "rejected by the compiler": ErrorNo.COMPILE_HOST,
    "hangs in the compiler": ErrorNo.BUILD_TIMEOUT,
    "hangs in the compiler, holding Python's lock": ErrorNo.BUILD_TIMEOUT,
    "crashes the compiler": ErrorNo.COMPILE_HOST,
    "hangs at run time": ErrorNo.RUN_TIMEOUT,
    "crashes at run time": ErrorNo.RUNTIME_DEVICE,
    "exits at run time": ErrorNo.RUNTIME_DEVICE,
    "computes something else": ErrorNo.WRONG_ANSWER,
    "computes no numbers": ErrorNo.WRONG_ANSWER,
}


@pytest.fixture(scope="module")
def measurer():
    with Measurer(resolve("llvm"), limits=Limits(build=3, run=3)) as measurer:
        yield measurer


def test_every_fault_costs_one_config_and_the_others_are_measured(measurer):
    template = Faulty([])
    configs = [template.space.config(index) for index in range(len(FAULTS))]
    # A sound config after each faulty one: the workers must have come back.
    mixed = [config for faulty in configs for config in (faulty, configs[0])]
    results = list(measurer.measure(template, mixed))
    assert sorted(measured.config.index for measured in results) == sorted(config.index for config in mixed)
    assert {m.config.value("fault"): m.result.error_no for m in results} == EXPECTED
    for measured in results:
        failed = measured.result.error_no != 0
        assert (measured.message is not None) == failed
        assert (measured.result.costs == [1e9]) == failed
    messages = {m.config.value("fault"): m.message for m in results}
    assert messages["refused by the template"] == "this config makes no sense"
    assert messages["crashes at run time"] == "running crashed: SIGABRT"
    assert messages["exits at run time"] == "running crashed: exit code 3"
    assert messages["hangs in the compiler"] == "building took longer than the limit"


def test_all_repeats_are_kept_and_hopeless_kernels_are_timed_once(measurer):
    template = instantiate("dense_nopack.x86", [tensor([1, 512]), tensor([512, 512]), None, "float32"])
    configs = [template.space.config(index) for index in (3, 40)]
    assert [len(m.result.costs) for m in measurer.measure(template, configs)] == [3, 3]
    assert [len(m.result.costs) for m in measurer.measure(template, configs, best=1e-9)] == [1, 1]


def test_results_carry_the_time_they_took_and_when(measurer):
    template = Faulty([])
    before = time.time()
    (measured,) = measurer.measure(template, [template.space.config(0)])
    assert before <= measured.result.timestamp <= time.time()
    assert 0 < measured.result.all_cost < 60


def test_kernels_are_compared_in_turns(measurer):
    template = instantiate("dense_nopack.x86", [tensor([1, 512]), tensor([512, 512]), None, "float32"])
    costs = measurer.compare(template, [template.space.config(3), template.space.config(40)], rounds=5)
    assert [len(times) for times in costs] == [5, 5]
    assert all(0 < seconds < 1 for times in costs for seconds in times)


def test_configs_travel_as_records_do(measurer):
    template = Faulty([])
    config = Config.model_validate_json(template.space.config(0).model_dump_json())
    (measured,) = measurer.measure(template, [config])
    assert measured.result.error_no == 0
