"""AutoTVM's own extraction: `extract.py MODELS`.

MODELS is JSON: a list of `[model, kind, shape]`, each a name that gluoncv knows or a symbol file, `llvm` or `cuda`,
and the shape of the input `data`. Says for each of them the list of tasks, each as `[name, args]`.

With `--layers` a network is taken apart first: each convolution and dense layer alone, on an input of its own.
AutoTVM compiles the network while it extracts, stops at the first operator that it can't schedule, and says nothing,
which for CUDA is nearly always.
"""

from __future__ import annotations

import json
import sys
import threading
from typing import Any

import gluoncv
import mxnet as mx
import tvm
from tvm import autotvm, relay

TARGETS = {"llvm": "llvm -mtriple=x86_64-linux-gnu -mcpu=znver4", "cuda": "cuda -arch=sm_70"}
LAYERS = frozenset({"nn.conv2d", "nn.conv2d_transpose", "nn.conv3d", "nn.dense"})
FEW = 8
"""How many layers are compiled at once: Relay takes much more than twice as long for twice as many."""


def flat(outputs: Any) -> list[Any]:
    if isinstance(outputs, dict):
        outputs = list(outputs.values())
    if isinstance(outputs, (list, tuple)):
        return [symbol for output in outputs for symbol in flat(output)]
    return [outputs]


def build(name: str) -> mx.gluon.HybridBlock:
    try:
        return gluoncv.model_zoo.get_model(name, pretrained=False, pretrained_base=False)
    except (TypeError, Warning):
        return gluoncv.model_zoo.get_model(name, pretrained=False)


def load(model: str) -> mx.sym.Symbol:
    return mx.sym.load(model) if model.endswith(".json") else mx.sym.Group(flat(build(model)(mx.sym.var("data"))))


def to_relay(symbol: mx.sym.Symbol, shape: tuple[int, ...]) -> tvm.IRModule:
    arguments, _, auxiliary = symbol.infer_shape(data=shape)
    shapes = dict(zip(symbol.list_arguments(), arguments, strict=True))
    shapes.update(zip(symbol.list_auxiliary_states(), auxiliary, strict=True))
    return relay.frontend.from_mxnet(symbol, shapes)[0]


def take_apart(module: tvm.IRModule) -> list[tvm.IRModule]:
    found: list[relay.Call] = []

    def visit(node: Any) -> None:
        if isinstance(node, relay.Call) and isinstance(node.op, tvm.ir.Op) and node.op.name in LAYERS:
            found.append(node)

    relay.analysis.post_order_visit(relay.transform.InferType()(module)["main"], visit)
    return [together(found[i : i + FEW]) for i in range(0, len(found), FEW)]


def together(calls: list[relay.Call]) -> tvm.IRModule:
    inputs, outputs = [], []
    for i, call in enumerate(calls):
        own = [relay.Var(f"layer{i}_{j}", argument.checked_type) for j, argument in enumerate(call.args)]
        inputs += own
        outputs.append(relay.Call(call.op, own, call.attrs))
    return tvm.IRModule.from_expr(relay.Function(inputs, relay.Tuple(outputs)))


def extract(model: str, kind: str, shape: list[int], *, layers: bool) -> list[Any]:
    network = to_relay(load(model), tuple(shape))
    modules = [module["main"] for module in (take_apart(network) if layers else [network])]
    failures: list[Any] = []
    threading.excepthook = failures.append  # AutoTVM compiles in a thread, whose end it does not look at
    target = tvm.target.Target(TARGETS[kind])
    tasks = autotvm.task.extract_from_multiple_program(modules, [{} for _ in modules], target)
    if failures:
        raise SystemExit(f"the extraction of {model} stopped half-way: {failures[0].exc_value}")
    return [[task.name, task.args] for task in tasks]


def main() -> None:
    found = [extract(*asked, layers="--layers" in sys.argv) for asked in json.loads(sys.argv[1])]
    sys.stdout.write(json.dumps(found) + "\n")


main()
