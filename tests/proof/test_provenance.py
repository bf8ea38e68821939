"""A device that is falsified in one place does not fit the others; where nothing is known, nothing is refused."""

from __future__ import annotations

from typing import Any

import pytest

pytest.importorskip("tvm", reason="needs the extra [tune]")

from tests.records.rows import record
from tophub_registry.proof.comparison import TimedRecord
from tophub_registry.proof.evidence import invented
from tophub_registry.proof.provenance import misfit
from tophub_registry.proof.replay import _measured_again
from tophub_registry.records.environment import Environment
from tophub_registry.records.record import Provenance

EPYC = {
    "target": "llvm -mcpu=znver4",
    "device": "AMD EPYC 9254, 2 cores",
    "architecture": "znver4",
    "vendor": "AuthenticAMD",
    "threads": 2,
    "peak_gflops": 200.0,
}
XEON = EPYC | {"device": "Intel(R) Xeon(R), 2 cores"}
LESSER = {"target": "llvm -mcpu=x86-64-v3", "architecture": "x86-64-v3"}
H100 = {"target": "cuda -model=h100", "device": "NVIDIA H100 80GB HBM3", "architecture": "sm_90a", "vendor": "NVIDIA"}
VERSIONS = {"compiler": "LLVM 22", "system": "Linux", "python": "3.12", "tvm": "0.27", "tophub": "0.1"}


def found(environment: dict[str, Any], cost: float = 1e-2, **told: Any) -> str | None:
    """Return what does not fit in a record of a layer of 231 MFLOP that the environment's device has measured."""
    own = {"device": environment["device"], "threads": environment.get("threads")}
    its = record(
        target=told.pop("target", environment["target"]),
        costs=[cost, 1.01 * cost],
        tophub=own | told,
        task="conv2d_NCHWc.x86",
    )
    finding = misfit(its, Environment(**environment, **VERSIONS))
    return None if finding is None else f"{finding.rule}: {finding.message}"


@pytest.mark.parametrize(
    "environment",
    [
        EPYC,
        XEON | {"target": "llvm -mcpu=rocketlake", "architecture": "rocketlake", "vendor": "GenuineIntel"},
        EPYC | LESSER | {"device": "AMD EPYC 9254 as x86-64-v3, 2 cores"},
        XEON | LESSER | {"vendor": "GenuineIntel"},
        EPYC | {"device": "a virtual processor", "vendor": None, "peak_gflops": None},
        H100,
    ],
)
def test_what_fits_is_not_refused(environment: dict[str, Any]) -> None:
    assert found(environment) is None
    assert found(environment, peak_gflops=150.0) is None


@pytest.mark.parametrize(
    ("environment", "told", "reason"),
    [
        (EPYC, {"target": "llvm -mcpu=znver3"}, "environment: made for llvm -mcpu=znver3, but the environment is llvm"),
        (EPYC, {"device": None}, "device: the record does not say on which device it was measured"),
        (EPYC, {"device": "AMD EPYC 9654, 2 cores"}, "device: measured on AMD EPYC 9654, 2 cores, but the environment"),
        (
            EPYC,
            {"threads": 1},
            "device: measured on AMD EPYC 9254, 2 cores, 1 thread, but the environment has 2 threads",
        ),
        (XEON, {}, "device: one device has 2 makers: Intel(R) Xeon(R), 2 cores and znver4"),
        (EPYC | {"vendor": "GenuineIntel"}, {}, "device: one device has 2 makers: GenuineIntel and znver4"),
        (H100 | {"device": "NVIDIA A100-SXM4-40GB"}, {}, "device: the device NVIDIA A100-SXM4-40GB is no h100"),
        (EPYC, {"peak_gflops": 900.0}, "device: a peak of 900 and of 200 GFLOPS can't be one device's"),
        (EPYC, {"cost": 5e-4}, "peak: 503 µs claimed, but at the device's peak of 200 GFLOPS it takes at least "),
    ],
)
def test_what_does_not_fit_is_refused(environment: dict[str, Any], told: dict[str, Any], reason: str) -> None:
    assert str(found(environment, **told)).startswith(reason)


def test_a_rank_is_of_the_cost_that_was_confirmed() -> None:
    ranked = record(tophub={"device": "x", "tuner": "y", "rank": "reproduced", "machine": "0123"})
    again = _measured_again(TimedRecord(ranked, (1e-3, 2e-3), 1.0), Provenance(device="z"))
    assert again.tophub.model_dump(exclude_unset=True, exclude={"revalidated"}) == {"device": "z", "tuner": "y"}


def test_repeats_that_are_all_the_same_were_not_measured() -> None:
    assert invented(record(costs=[1e-3, 1e-3, 1e-3])) == "all 3 repeats are the same number: 0.001"
    assert invented(record(costs=[1e-3])) is None
    assert invented(record(costs=[1e-3, 1.1e-3])) is None
