"""Building kernels for the CUDA device at hand, running them there, and comparing what they compute with NumPy.

What the checks of this folder share. They need a CUDA device, TVM, NumPy and nvcc, and nothing of this project's
tests but this folder.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from tophub_registry.devices.gpu import architecture_of
from tophub_registry.records.record import Config, workload_key
from tophub_registry.templates.registry import instantiate

SECONDS = 60


class Job(NamedTuple):
    """A config of a workload."""

    task: str
    args: list[Any]
    config: Config


def build(job: Job, arch: str, path: str) -> str:
    """Compile a config's kernel into the shared library `path`, and return what went wrong, if anything."""
    import signal

    import tvm

    def stop(*_: Any) -> None:
        raise TimeoutError(f"took the compiler more than {SECONDS} s")

    signal.signal(signal.SIGALRM, stop)
    signal.alarm(SECONDS)
    try:
        target = tvm.target.Target({"kind": "cuda", "arch": arch}, host="llvm")
        template = instantiate(job.task, job.args)
        with tvm.transform.PassContext(opt_level=3, config=dict(template.pass_config)):
            tvm.compile(template.schedule(job.config).mod, target=target).export_library(path)
    except Exception as error:  # noqa: BLE001  # whatever the compiler raises is a finding
        return f"{type(error).__name__}: {str(error)[-300:]}"
    finally:
        signal.alarm(0)
    return ""


def run(job: Job, path: str, inputs: list[Any], right: Any) -> tuple[float, str]:
    """Return how far a kernel's output is from the right one, relative to its largest number, and what went wrong."""
    import tvm

    device, template = tvm.cuda(0), instantiate(job.task, job.args)
    try:
        *_, out = template.tensors(job.config)
        packed = [np.ascontiguousarray(array) for array in template.pack(job.config, inputs)]
        arrays = [tvm.runtime.tensor(array, device) for array in packed]
        output = tvm.runtime.tensor(np.full(out.shape, np.nan, out.dtype), device)
        tvm.runtime.load_module(path)["main"](*arrays, output)
        device.sync()
        computed = template.unpack(job.config, output.numpy())
    except Exception as raised:  # noqa: BLE001  # whatever the device raises is a finding
        return 0.0, f"{type(raised).__name__}: {str(raised)[-300:]}"
    error = float(np.abs(computed - right).max() / max(1.0, np.abs(right).max()))
    return (error, "") if error <= template.tolerance else (0.0, f"differs by {error}")


class References:
    """Random inputs and the right output of each workload, computed once."""

    def __init__(self) -> None:
        self._known: dict[str, tuple[list[Any], Any]] = {}

    def of(self, job: Job) -> tuple[list[Any], Any]:
        key = workload_key(job.task, job.args, {})
        if key not in self._known:
            numbers, workload = np.random.default_rng(len(self._known)), instantiate(job.task, job.args).workload
            inputs = [numbers.uniform(-1, 1, shape).astype(workload.dtype) for shape in workload.inputs]
            self._known[key] = inputs, workload.reference([array.astype(np.float64) for array in inputs])
        return self._known[key]


def main(choose: Callable[[], list[Job]], **facts: Any) -> int:
    """Build the chosen jobs on all the processors, run them one by one, print a summary as JSON.

    Returns
    -------
    int
        1 where a kernel does not build, does not run, or computes something else.
    """
    import tvm

    began = time.time()
    arch = architecture_of(tvm.cuda(0))
    jobs = choose()
    counts: dict[str, dict[str, Any]] = {
        job.task: {"checked": 0, "unbuilt": 0, "failed": 0, "worst": 0.0} for job in jobs
    }
    failures: list[dict[str, Any]] = []
    references = References()
    with (
        tempfile.TemporaryDirectory() as folder,
        ProcessPoolExecutor(os.cpu_count(), mp_context=multiprocessing.get_context("spawn")) as pool,
    ):
        paths = [str(Path(folder) / f"{number}.so") for number in range(len(jobs))]
        futures = {pool.submit(build, job, arch, path): (job, path) for job, path in zip(jobs, paths, strict=True)}
        for future in as_completed(futures):
            job, path = futures[future]
            entry, problem = counts[job.task], future.result()
            if problem:
                entry["unbuilt"] += 1
            else:
                error, problem = run(job, path, *references.of(job))
                entry["worst"] = max(entry["worst"], error)
                entry["checked"] += 1
                entry["failed"] += bool(problem)
                Path(path).unlink(missing_ok=True)
            if problem:
                entity = {knob.name: knob.value for knob in job.config.entity}
                failures.append({"task": job.task, "args": job.args, "config": entity, "problem": problem})
    seconds = round(time.time() - began, 1)
    summary = {**facts, "arch": arch, "seconds": seconds, "templates": counts, "failures": failures[:50]}
    json.dump(summary, sys.stdout, indent=1)
    sys.stdout.write("\n")
    return 1 if failures else 0
