"""One rule says what is a loss, and one function times a record with what it replaces."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

pytest.importorskip("tvm", reason="needs the extra [tune]")

from tests.records.rows import record
from tophub_registry.devices.device import resolve
from tophub_registry.errors import EnvironmentFailure
from tophub_registry.measurement.measure import Measurer
from tophub_registry.proof.comparison import TimedRecord, time_in_turns
from tophub_registry.proof.gain import measure_gain
from tophub_registry.records.record import Config, Record
from tophub_registry.records.task import Task, tensor
from tophub_registry.templates.registry import instantiate

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

HERE = resolve("llvm")
TEMPLATE = instantiate("dense_nopack.x86", [tensor([1, 256]), tensor([64, 256]), None, "float32"])


def timed(*costs: float, default: float = 1.0, channels: int = 64) -> TimedRecord:
    return TimedRecord(record(channels=channels), costs, default)


@pytest.mark.parametrize(
    ("seconds", "loss"),
    [(0.5, None), (1.0, None), (1.03, None), (1.04, "only 0.96 times as fast as AutoTVM's default config")],
)
def test_a_loss_to_the_default_config_counts_beyond_the_noise(seconds: float, loss: str | None) -> None:
    assert timed(0.1, seconds, 9.0).loss() == loss
    assert timed(seconds).gain == 1 / seconds


def test_a_record_can_lose_to_the_one_it_replaces_unless_that_has_the_same_config_or_does_not_run() -> None:
    other = TimedRecord(record(channels=64, tile_ow=7), (0.5,), 1.0)
    assert timed(0.51).loss(other) is None
    assert timed(0.8).loss(other) == "only 0.62 times as fast as the record it replaces"
    assert timed(0.8).loss(timed(0.5)) is None
    assert timed(0.8).loss(TimedRecord(other.record, (), 1.0, "no")) is None


def test_a_record_that_can_t_be_measured_loses() -> None:
    assert TimedRecord(record(), (), 1.0, "can't be measured").loss() == "can't be measured"


@pytest.fixture
def measurer() -> Iterator[Measurer]:
    with Measurer(HERE) as measurer:
        yield measurer


def recorded(config: Config) -> Record:
    its = record(task=TEMPLATE.task, target=str(HERE))
    return its.model_copy(update={"config": config, "input": its.input._replace(args=TEMPLATE.args)})


@pytest.mark.slow
def test_a_record_is_blamed_where_the_default_config_runs(measurer: Measurer) -> None:
    config = TEMPLATE.default(HERE)
    sound, broken = recorded(config), recorded(config.model_copy(update={"entity": config.entity[:2]}))
    one, other = time_in_turns(TEMPLATE, [sound, broken], measurer, rounds=3)
    assert (len(one.costs), one.failure) == (3, None)
    assert other.seconds is None
    assert other.failure is not None
    assert other.default > 0
    task = Task(task=TEMPLATE.task, args=TEMPLATE.args)
    (gain,) = measure_gain([task], HERE, [broken], measurer, rounds=3).tasks
    assert (gain.tuned, gain.best, gain.failure) == (None, gain.default, other.failure)


def test_no_record_is_blamed_where_nothing_can_be_measured(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))  # without a linker
    with (
        Measurer(HERE) as helpless,
        pytest.raises(EnvironmentFailure, match="can't be measured"),
    ):
        time_in_turns(TEMPLATE, [recorded(TEMPLATE.default(HERE))], helpless, rounds=3)
