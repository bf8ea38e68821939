"""What records save a model, with real kernels."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("tvm", reason="needs the extra [tune]")

from tophub_registry.devices.device import resolve
from tophub_registry.measurement.measure import Measurer
from tophub_registry.proof.gain import measure_gain
from tophub_registry.records.log import read_records
from tophub_registry.records.task import Task

pytestmark = pytest.mark.timed

DATA = Path(__file__).parents[2] / "registry_data"
HERE = resolve("llvm")


def test_a_template_autotvm_does_not_have_saves_time_where_there_is_a_record_for_it() -> None:
    """Winograd's convolution is an alternative to the direct one, and no part of what there was before."""
    known = [record for record in read_records(DATA / "llvm_v0.06.log") if record.input.task.startswith("conv2d_NCHWc")]
    own = min((r for r in known if "winograd" in r.input.task), key=lambda record: record.mean_cost)
    direct, winograd = (
        Task(task=task, args=own.input.args, layers=["conv0"]) for task in ("conv2d_NCHWc.x86", own.input.task)
    )
    records = [record.model_copy(update={"input": record.input._replace(target=str(HERE))}) for record in known]
    with Measurer(HERE) as measurer:
        without = measure_gain([direct, winograd], HERE, [], measurer, rounds=3)
        gain = measure_gain([direct, winograd], HERE, records, measurer, rounds=3)
    assert [each.task for each in without.tasks] == [direct]
    assert without.before == without.after == without.tasks[0].default
    assert [each.task for each in gain.tasks] == [direct, winograd]
    assert gain.before == gain.tasks[0].default
    assert gain.after == min(each.best for each in gain.tasks)
