"""What a user of an old TVM does: `build_with_tophub.py MODEL SHAPE VERSION ROUNDS TARGET`.

Compiles a gluoncv model, once inside `autotvm.tophub.context`, which downloads the
package `llvm` of VERSION from $TOPHUB_LOCATION, and once without any log. Says how AutoTVM's queries for configs were
answered, how far both results are from MXNet's, and what the two take, timed in turns.
"""

from __future__ import annotations

import json
import statistics
import sys
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import gluoncv
import mxnet as mx
import numpy as np
import tvm
from tvm import autotvm, relay
from tvm.autotvm import tophub
from tvm.autotvm.task import DispatchContext
from tvm.contrib.graph_executor import GraphModule

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextmanager
def noting_queries(queries: list[dict[str, Any]]) -> Iterator[None]:
    """Note each look-up of a config, whichever context it comes to first, and whether a log answered."""
    plain = DispatchContext.query
    depth = 0

    def query(self: DispatchContext, target: tvm.target.Target, workload: tuple[Any, ...] | None) -> Any:
        nonlocal depth
        depth += 1
        try:
            config = plain(self, target, workload)
        finally:
            depth -= 1
        if workload is not None and depth == 0:
            queries.append({"task": workload[0], "args": workload[1:], "fallback": config.is_fallback})
        return config

    DispatchContext.query = query
    try:
        yield
    finally:
        DispatchContext.query = plain


PLACES = 7
"""How often each network is put into memory to be timed: where it lies there makes it up to 1 % faster or slower."""


def compile_network(module: tvm.IRModule, weights: dict[str, Any], target: tvm.target.Target) -> Any:
    with tvm.transform.PassContext(opt_level=3):
        return relay.build(module, target=target, params=weights)


def load(library: Any, image: Any) -> GraphModule:
    network = GraphModule(library["default"](tvm.cpu()))
    network.set_input("data", image)
    network.run()
    return network


def time_in_turns(networks: list[list[GraphModule]], rounds: int) -> list[list[float]]:
    """Return seconds of processor time by network and round.

    Processor time, since the runtime has one thread and a run that is put off by another process is no slower;
    and many single runs in turns rather than a few long ones, since the machine's pace drifts.

    Parameters
    ----------
    networks
        Each as often as it was loaded; these have their turns too.
    """
    seconds: list[list[float]] = [[] for _ in networks]
    for turn in range(rounds):
        for i in range(len(networks)) if turn % 2 else reversed(range(len(networks))):
            network = networks[i][turn % len(networks[i])]
            start = time.process_time()
            network.run()
            seconds[i].append(time.process_time() - start)
    return seconds


def main() -> None:
    model, version, rounds, target_text = sys.argv[1], sys.argv[3], int(sys.argv[4]), sys.argv[5]
    shape = tuple(map(int, sys.argv[2].split(",")))
    mx.random.seed(0)
    network = gluoncv.model_zoo.get_model(model, pretrained=False)
    network.initialize(mx.init.Xavier())
    image = mx.nd.random.uniform(-1, 1, shape)
    expected = network(image).asnumpy()
    module, weights = relay.frontend.from_mxnet(network, {"data": shape})
    target = tvm.target.Target(target_text)

    # An old TVM knows the packages of its own day; this is how its user asks for a later one.
    tophub.PACKAGE_VERSION["llvm"] = version
    queries: list[dict[str, Any]] = []
    with noting_queries(queries), tophub.context(target):
        tuned = compile_network(module, weights, target)
    with autotvm.FallbackContext():
        untuned = compile_network(module, weights, target)

    loaded: list[list[GraphModule]] = [[], []]
    for place in range(PLACES):  # in turns: memory that is given out later can be slower
        for number in (0, 1) if place % 2 else (1, 0):
            loaded[number].append(load((tuned, untuned)[number], image.asnumpy()))
    differences = [float(np.abs(first.get_output(0).numpy() - expected).max()) for first, *_ in loaded]
    with_log, without = time_in_turns(loaded, rounds)
    package = Path(tophub.AUTOTVM_TOPHUB_ROOT_PATH) / f"llvm_{version}.log"
    report = {
        "target": str(target),
        "downloaded": str(package) if package.exists() else None,
        "queries": queries,
        "scale": float(np.abs(expected).max()),
        "difference_tuned": differences[0],
        "difference_untuned": differences[1],
        "seconds_tuned": statistics.median(with_log),
        "seconds_untuned": statistics.median(without),
        "speedup": statistics.median(a / b for a, b in zip(without, with_log, strict=True)),
        "speedups": [a / b for a, b in zip(without, with_log, strict=True)],
    }
    sys.stdout.write(json.dumps(report) + "\n")


main()
