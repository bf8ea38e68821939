"""What this machine has: compilers, a GPU, vector instructions and records for them, and how many threads."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from tophub_registry.devices import threads as counting
from tophub_registry.devices.gpu import model_of
from tophub_registry.devices.processor import VARIABLE as PROCESSOR
from tophub_registry.devices.processor import physical_cores
from tophub_registry.doctor.check import Check
from tophub_registry.errors import TophubError, UsageError
from tophub_registry.records.families import PROCESSORS, Vectors, family_of, vectors_with
from tophub_registry.records.target import Target

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from tophub_registry.doctor.asking import Answers
    from tophub_registry.doctor.check import Level
    from tophub_registry.packages.index import Index

_PATIENCE = 5.0  # seconds, for nvidia-smi

_COMPILERS = ("g++", "gcc", "clang++", "clang", "c++", "cc")

_CPUINFO = Path("/proc/cpuinfo")

_LLVM_NAMES = {"pni": "sse3", "sse4_1": "sse4.1", "sse4_2": "sse4.2", "bmi1": "bmi", "abm": "lzcnt"}
"""Features that Linux calls differently."""

_VECTORS = ("avx", "sse", "fma", "amx")
"""How the names of vector instructions begin; other features only tune the code generator."""

_DRIVER = (Path("/proc/driver/nvidia/version"), Path("/dev/nvidiactl"))


def compiler(*, needed: bool, environment: Mapping[str, str] = os.environ) -> Iterator[Check]:
    """Look for the C++ compiler that TVM links libraries with, as TVM does (`tvm.support.cc.get_cc`)."""
    remedy = "install g++, or set CXX to a compiler"
    named = environment.get("CXX") or environment.get("CC")
    found = shutil.which(named) if named else next(filter(None, map(shutil.which, _COMPILERS)), None)
    if found:
        yield Check("compiler", "ok", f"{found} links compiled models")
        return
    said = f"there is no program {named!r}, which CXX or CC names" if named else "there is no C++ compiler"
    level: Level = "error" if needed else "ok"
    yield Check("compiler", level, f"{said}; compile and tune need one", remedy if needed else None)


def gpu(answers: Answers | None, index: Index | None) -> Iterator[Check]:
    """Look for a GPU of NVIDIA's, its driver, nvcc, and records for it."""
    asked = _asked_of_driver()
    if asked is None:
        if any(path.exists() for path in _DRIVER):
            remedy = "check the driver: `nvidia-smi` must list the GPU"
            yield Check("gpu", "warning", "there is a driver of NVIDIA's, but nvidia-smi lists no GPU", remedy)
        else:
            yield Check("gpu", "ok", "none of NVIDIA's: kernels for cuda can be compiled with nvcc, but not run here")
        return
    name, driver = asked
    this = Target.parse("cuda").with_option("model", model_of(name))
    generation = family_of(this)
    exact = _records(index, "cuda", lambda target: target.model == this.model)
    alike = _records(index, "cuda", lambda target: generation is not None and family_of(target) == generation)
    said = f"{name}, driver {driver}"
    if exact and alike:
        others = f" and {alike[1] - exact[1]} for others of {generation}" if generation else ""
        said += f"; {exact[0]} has {exact[1]} records for this model{others}"
    if exact and alike and not exact[1] and not alike[1]:
        yield Check("gpu", "warning", said, "`tophub tune --target cuda` makes some")
    else:
        yield Check("gpu", "ok", said)
    if answers is not None and shutil.which("nvcc") is None:
        yield Check("gpu", "warning", "nvcc is not on the PATH: TVM can't compile for cuda", "install the CUDA toolkit")
    if answers is not None and answers.facts.get("gpu") is False:
        yield Check("gpu", "warning", "TVM does not see the GPU", "install a TVM that was built with CUDA")


def _asked_of_driver() -> tuple[str, str] | None:
    """Return the first GPU's name and the driver's version; None if nvidia-smi does not say."""
    command = ["nvidia-smi", "--query-gpu=name,driver_version", "--format=csv,noheader", "--id=0"]
    with suppress(OSError, subprocess.SubprocessError):
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=_PATIENCE)
        name, comma, driver = done.stdout.strip().rpartition(", ")
        return (name, driver) if comma else None
    return None


def processor(
    answers: Answers | None, index: Index | None, environment: Mapping[str, str] = os.environ
) -> Iterator[Check]:
    """Name the processor and its family, and count the records for it."""
    facts = answers.facts if answers else {}
    name = facts.get("processor")
    vectors = PROCESSORS.get(str(name)) or vectors_with(set(facts.get("features") or _features()))
    lesser = environment.get(PROCESSOR)
    if lesser:
        remedy = f"set {PROCESSOR} to a lesser processor, such as x86-64-v3, or unset it"
        if facts and not facts.get("lesser_is_known", True):
            yield Check("processor", "error", f"{PROCESSOR} is {lesser!r}, which LLVM does not know", remedy)
            return
        needed = {each for each in facts.get("lesser_features", ()) if each.startswith(_VECTORS)}
        if missing := sorted(needed - set(facts.get("features", ()))):
            said = f"{PROCESSOR} is {lesser!r}, and this processor lacks {', '.join(missing)}"
            yield Check("processor", "error", said, remedy)
            return
        vectors = PROCESSORS.get(lesser, vectors)
    yield _with_records(" as ".join(filter(None, (name, lesser))) or "this processor", lesser or name, vectors, index)


def _with_records(shown: str, name: str | None, vectors: Vectors, index: Index | None) -> Check:
    said = f"{shown}: {vectors.family}"
    exact = _records(index, "llvm", lambda target: target.attributes.get("mcpu") == name)
    alike = _records(index, "llvm", lambda target: PROCESSORS.get(target.attributes.get("mcpu", "")) == vectors)
    if exact is None or alike is None:
        return Check("processor", "ok", said)
    said += f"; {alike[0]} has {alike[1]} records for its vector family"
    if name:
        said += f", {exact[1]} of them for {name}"
    if alike[1]:
        return Check("processor", "ok", said)
    return Check("processor", "warning", said, "`tophub compile --tune 3m` makes records of your own")


def _features() -> set[str]:
    """Return this processor's features as Linux lists them, by LLVM's names."""
    with suppress(OSError):
        for line in _CPUINFO.read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("flags"):
                return {_LLVM_NAMES.get(flag, flag) for flag in line.partition(":")[2].split()}
    return set()


def _records(index: Index | None, package: str, counts: Callable[[Target], bool]) -> tuple[str, int] | None:
    """Return a package's name and newest version, and how many of its records are for targets that count."""
    newest = index.newest(package) if index else None
    if index is None or newest is None:
        return None
    found: Counter[bool] = Counter()
    for text, number in index.versions(package)[newest].targets.items():
        with suppress(TophubError):
            found[counts(Target.parse(text))] += number
    return f"{package} {newest}", found[True]


def threads(environment: Mapping[str, str] = os.environ) -> Iterator[Check]:
    """Check the variables for the number of threads against what this process may use."""
    cpus = os.cpu_count() or 1
    try:
        count, usable = counting.thread_count(), counting.usable_cores()
    except UsageError as error:
        yield Check("threads", "error", error.message, error.remedy)
        return
    for name in counting.VARIABLES:
        said = environment.get(name, "")
        if said.isdecimal() and int(said) > cpus:
            said_of = f"{name} is {said}, and this machine has {cpus} CPUs"
            yield Check("threads", "warning", said_of, f"set it to at most {cpus}, or unset it")
    cores = physical_cores()
    quota = f", the container's quota allows {usable}" if usable < cores else ""
    limits = f"{cpus} CPUs, {cores} cores that this process may use{quota}"
    if count > usable:
        said = f"kernels use {count} threads: more than there are cores ({limits})"
        yield Check("threads", "warning", said, f"set TVM_NUM_THREADS={usable}, or unset it")
    else:
        yield Check("threads", "ok", f"kernels use {count} threads ({limits})")
    if environment.get(counting.BINDING) == "0":
        yield Check("threads", "ok", f"{counting.BINDING} is 0: threads are not bound to CPUs")
