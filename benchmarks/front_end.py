"""Compares records in TVM's own pipeline with `tophub.compile`, and an ONNX model with ONNX Runtime.

    python benchmarks/front_end.py MODEL... [--log LOG] [--rounds 15]

Each model is compiled three ways and timed in turns, in pairs: by `tophub.compile`; by `tvm.compile` after
`tophub.apply_records`; by `tvm.compile` with `relax_pipeline=tophub.pipeline(target)`. It prints the
median ratio to the first; the goal is at most 1.05. An ONNX model is also timed in ONNX Runtime, with as many threads.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

import tophub_registry as tophub
from tophub_registry.devices.device import compiled_for, resolve
from tophub_registry.devices.processor import described
from tophub_registry.devices.threads import settle_threads, thread_count

if TYPE_CHECKING:
    from collections.abc import Callable

_RUNS = 5  # per turn; the fastest counts


def ways(model: Any, records: list[Path] | None) -> dict[str, Callable[[], object]]:
    """Return functions that run a model once, by how it was compiled."""
    import tvm
    from tvm import relax

    compiled = tophub.compile(model, "llvm", records=records)
    target = tvm.target.Target(compiled_for(resolve("llvm")))
    inputs = [tvm.runtime.tensor(array) for array in model.random_inputs()]
    executables = {"tophub.compile": compiled.executable}
    with target:
        applied = tophub.apply_records(model.module, target, records=records)
        executables["apply_records"] = tvm.compile(applied, target)
        pipeline = tophub.pipeline(target, records=records)
        executables["pipeline"] = tvm.compile(model.module, target, relax_pipeline=pipeline)
    mains = {name: relax.VirtualMachine(each, tvm.cpu())["main"] for name, each in executables.items()}
    found: dict[str, Callable[[], object]] = {name: (lambda main=main: main(*inputs)) for name, main in mains.items()}
    if model.original.framework == "ONNX Runtime":
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = thread_count()
        session = onnxruntime.InferenceSession(model.original.proto.SerializeToString(), options)
        named = dict(zip(model.inputs, model.random_inputs(), strict=True))
        found["ONNX Runtime"] = lambda: session.run(None, named)
    return found


def seconds(run: Callable[[], object]) -> float:
    """Return the time of the fastest of several runs, in seconds."""
    times = []
    for _ in range(_RUNS):
        start = time.perf_counter()
        run()
        times.append(time.perf_counter() - start)
    return min(times)


def main() -> None:
    """Time the models given on the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="+")
    parser.add_argument("--log", type=Path, action="append")
    parser.add_argument("--rounds", type=int, default=15)
    arguments = parser.parse_args()
    settle_threads()
    print(f"{described()}, {thread_count()} threads, {arguments.rounds} rounds")
    for name in arguments.models:
        runs = ways(tophub.read_model(name), arguments.log)
        for run in runs.values():
            run()
        rounds = []
        for _ in range(arguments.rounds):
            turn = {}
            for way, run in runs.items():
                time.sleep(0.05)
                turn[way] = seconds(run)
            rounds.append(turn)
        first = next(iter(runs))
        print(name)
        for way in runs:
            ratio = median(turn[way] / turn[first] for turn in rounds)
            print(f"  {way:16} {1e3 * median(turn[way] for turn in rounds):8.2f} ms  {ratio:.3f}")


if __name__ == "__main__":
    main()
