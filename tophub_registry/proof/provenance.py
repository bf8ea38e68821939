"""Whether a record's provenance, its target, its cost and the environment that it comes with agree with each other.

A device that is falsified in one place does not fit the others: the processor's maker, the GPU's model, the threads,
the measured peak. Where nothing is known, nothing is refused.
"""

from __future__ import annotations

import re

from tophub_registry import spelling
from tophub_registry.devices.gpu import model_of
from tophub_registry.records.environment import Environment
from tophub_registry.records.families import PROCESSORS
from tophub_registry.records.finding import Finding
from tophub_registry.records.lookup import Match, match_targets
from tophub_registry.records.record import Record
from tophub_registry.records.speed_limit import quickest
from tophub_registry.records.target import Target

_AMD = re.compile(
    r"\b(?:AMD|EPYC|Ryzen|AuthenticAMD|HygonGenuine|Hygon)\b|^(?:znver|bdver|btver|amdfam)\d", re.IGNORECASE
)
_INTEL = re.compile(r"\b(?:Intel|Xeon|GenuineIntel)\b", re.IGNORECASE)
_ANYBODYS = re.compile(r"x86-64|generic|[ik]\d|athlon|opteron|barcelona|geode|winchip|c3")

_PEAKS_DIFFER = 4.0
"""Peaks of one device that were measured at two times differ less, even where other programs run."""

_REMEDY = "contribute from the machine that measured it"


def misfit(record: Record, environment: Environment) -> Finding | None:
    """Return what does not fit between a record and its environment, the first of it; None if all of it fits."""
    target = Target.parse(environment.target)
    if match_targets(target, record.target) is not Match.DEVICE:
        message = f"made for {record.target}, but the environment is {target}"
        return Finding("environment", message, remedy=_REMEDY)
    device = _device(record, environment) or _makers(environment, target) or _peaks(record, environment)
    return Finding("device", device, remedy=_REMEDY) if device else _too_fast(record, environment)


def _device(record: Record, environment: Environment) -> str | None:
    """Return in what the record's device and the environment's differ."""
    its = record.tophub
    if its is None or its.device is None:
        return "the record does not say on which device it was measured"
    if its.device != environment.device:
        return f"measured on {its.device}, but the environment is {environment.device}"
    if its.threads != environment.threads:
        return f"measured on {its.where}, but the environment has {environment.threads} threads"
    return None


def _makers(environment: Environment, target: Target) -> str | None:
    """Return how the names of the environment's device contradict each other."""
    if target.kind == "cuda" and model_of(environment.device) != target.model:
        return f"the device {environment.device} is no {target.model}"
    named = (environment.device, environment.vendor, environment.architecture, target.attributes.get("mcpu"))
    makers = {maker: name for name in named if name is not None and (maker := _maker(name)) is not None}
    if target.kind == "llvm" and len(makers) > 1:
        return f"one device has {len(makers)} makers: {' and '.join(sorted(makers.values()))}"
    return None


def _peaks(record: Record, environment: Environment) -> str | None:
    """Return how the peaks contradict each other."""
    its, theirs = record.tophub and record.tophub.peak_gflops, environment.peak_gflops
    if not its or not theirs or max(its, theirs) <= _PEAKS_DIFFER * min(its, theirs):
        return None
    return f"a peak of {its:.0f} and of {theirs:.0f} GFLOPS can't be one device's"


def _maker(name: str) -> str | None:
    """Return who makes a processor, by its own name, CPUID's or LLVM's; None if the name does not say."""
    if _AMD.search(name):
        return "AMD"
    if _INTEL.search(name) or (name in PROCESSORS and not _ANYBODYS.match(name)):
        return "Intel"
    return None


def _too_fast(record: Record, environment: Environment) -> Finding | None:
    """Return a finding if a cost is less than the device's own peak allows."""
    peak = max(environment.peak_gflops or 0.0, (record.tophub and record.tophub.peak_gflops) or 0.0)
    if not peak:
        return None
    least = quickest(record.target, record.input.task, record.input.args, peak * 1e9)
    if record.mean_cost >= least:
        return None
    claimed, possible = spelling.seconds(record.mean_cost), spelling.seconds(least)
    message = f"{claimed} claimed, but at the device's peak of {peak:.0f} GFLOPS it takes at least {possible}"
    return Finding("peak", message, remedy=_REMEDY)
