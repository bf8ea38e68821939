"""Level `replay`: a claim is measured again, in turns with the default config."""

import pytest

pytest.importorskip("tvm", reason="needs the extra [tune]")

from tophub_registry.devices.device import resolve
from tophub_registry.measurement.measure import Measurer
from tophub_registry.proof.replay import findings, replay
from tophub_registry.records.log import read_records
from tophub_registry.records.record import Result
from tophub_registry.records.task import Task, tensor
from tophub_registry.tuner.tune import Plan, tune

pytestmark = pytest.mark.timed

TASK = Task(task="dense_nopack.x86", args=[tensor([1, 256]), tensor([64, 256]), None, "float32"])


@pytest.fixture(scope="module")
def measurer():
    with Measurer(resolve("llvm")) as measurer:
        yield measurer


@pytest.fixture(scope="module")
def records(measurer, tmp_path_factory):
    log = tmp_path_factory.mktemp("replay") / "new.log"
    tune([TASK], measurer.target, log, measurer, Plan(trials=4))
    return list(read_records(log))


def claiming(record, seconds):
    return record.model_copy(update={"result": Result([seconds], 0, 1.0, 1.7e9)})


def test_todays_costs_stand_in_the_new_record_and_its_history_goes_on(measurer, records):
    for replayed in replay(records, measurer, rounds=5):
        assert len(replayed.record.result.costs) == 5
        assert replayed.record.config == replayed.claimed.config
        assert replayed.record.tophub.tuner == replayed.claimed.tophub.tuner
        assert replayed.record.tophub.revalidated
        assert replayed.timed.default > 0
        assert replayed.timed.gain > 0


def test_a_claim_that_is_too_good_does_not_hold_and_a_modest_one_does(measurer, records):
    (boast,) = replay([claiming(records[0], 1e-9)], measurer, rounds=3)
    assert [finding.rule for finding in findings(boast, 0.1) if finding.severity == "error"] == ["replay"]
    (modest,) = replay([claiming(records[0], 1.0)], measurer, rounds=3)
    assert [finding for finding in findings(modest, 0.1) if finding.severity == "error"] == []


def test_a_record_whose_kernel_does_not_build_is_blamed_alone(measurer, records):
    broken = records[1].model_copy(
        update={"config": records[1].config.model_copy(update={"entity": records[1].config.entity[:2]})}
    )
    replayed = {id(r.claimed): r for r in replay([records[0], broken, records[2]], measurer, rounds=3)}
    assert replayed[id(broken)].record is None
    assert replayed[id(broken)].timed.failure
    (finding,) = findings(replayed[id(broken)], 0.1)
    assert finding.message.startswith("dense_nopack.x86 can't be measured: ")
    assert replayed[id(records[0])].record is not None
    assert replayed[id(records[2])].record is not None
