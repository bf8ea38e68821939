"""AutoTVM's own extraction: `extract.py MODELS`.

MODELS is JSON: a list of `[model, kind, shape]`, each a name that gluoncv knows or a symbol file, `llvm` or `cuda`,
and the shape of the input `data`, or of all inputs by name. Says for each of them the list of tasks, each as
`[name, args]`.

With `--layers` a network is taken apart first: each distinct convolution, dense layer and batch of matrix products
alone, on an input of its own. AutoTVM compiles the network while it extracts, stops at the first operator that it
can't schedule, and says nothing, which for CUDA is nearly always.

With `--select` nothing is compiled: of each such layer the implementations are selected among, as AutoTVM does at the
beginning of its compilation, which is when the tasks are found. It finds the same tasks in a tenth of the time.

With `--reasons` a model that can't be taken has what is wrong, as text, instead of tasks.
"""

from __future__ import annotations

import contextlib
import json
import sys
import threading
from typing import Any

import mxnet as mx
import tvm
from tvm import autotvm, relay

TARGETS = {"llvm": "llvm -mtriple=x86_64-linux-gnu -mcpu=znver4", "cuda": "cuda -arch=sm_70"}
LAYERS = frozenset(
    f"nn.{name}"
    for name in (
        *("conv1d", "conv2d", "conv3d", "conv1d_transpose", "conv2d_transpose", "conv3d_transpose"),
        *("deformable_conv2d", "dense", "matmul", "batch_matmul"),
    )
)
FEW = 8
"""How many layers are compiled at once: Relay takes much more than twice as long for twice as many."""


class CantTakeError(Exception):
    """AutoTVM can't take a model."""


def flat(outputs: Any) -> list[Any]:
    if isinstance(outputs, dict):
        outputs = list(outputs.values())
    if isinstance(outputs, (list, tuple)):
        return [symbol for output in outputs for symbol in flat(output)]
    return [outputs]


def build(name: str) -> mx.gluon.HybridBlock:
    import gluoncv

    try:
        return gluoncv.model_zoo.get_model(name, pretrained=False, pretrained_base=False)
    except (TypeError, Warning):
        return gluoncv.model_zoo.get_model(name, pretrained=False)


def load(model: str) -> mx.sym.Symbol:
    return mx.sym.load(model) if model.endswith(".json") else mx.sym.Group(flat(build(model)(mx.sym.var("data"))))


def to_relay(symbol: mx.sym.Symbol, given: dict[str, tuple[int, ...]]) -> tvm.IRModule:
    arguments, _, auxiliary = symbol.infer_shape(**given)
    shapes = dict(zip(symbol.list_arguments(), arguments, strict=True))
    shapes.update(zip(symbol.list_auxiliary_states(), auxiliary, strict=True))
    try:
        return relay.frontend.from_mxnet(symbol, shapes)[0]
    except Exception as error:
        raise CantTakeError(f"its front end: {last_line(error)}") from error


def last_line(error: Any) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[-1] if lines else ''}"


def layers_of(module: tvm.IRModule) -> list[relay.Call]:
    found: dict[str, relay.Call] = {}

    def visit(node: Any) -> None:
        if isinstance(node, relay.Call) and isinstance(node.op, tvm.ir.Op) and node.op.name in LAYERS:
            types = [str(argument.checked_type) for argument in node.args]
            found.setdefault(f"{node.op.name} {types} {tvm.ir.structural_hash(node.attrs)}", node)

    try:
        typed = relay.transform.InferType()(module)
    except Exception as error:
        raise CantTakeError(f"its front end: {last_line(error)}") from error
    relay.analysis.post_order_visit(typed["main"], visit)
    return list(found.values())


def take_apart(module: tvm.IRModule) -> list[tvm.IRModule]:
    calls = layers_of(module)
    return [together(calls[i : i + FEW]) for i in range(0, len(calls), FEW)]


def together(calls: list[relay.Call]) -> tvm.IRModule:
    inputs, outputs = [], []
    for i, call in enumerate(calls):
        own = [relay.Var(f"layer{i}_{j}", argument.checked_type) for j, argument in enumerate(call.args)]
        inputs += own
        outputs.append(relay.Call(call.op, own, call.attrs))
    return tvm.IRModule.from_expr(relay.Function(inputs, relay.Tuple(outputs)))


def extract(model: str, kind: str, shapes: list[int] | dict[str, list[int]]) -> list[Any]:
    given = shapes if isinstance(shapes, dict) else {"data": shapes}
    network = to_relay(load(model), {name: tuple(shape) for name, shape in given.items()})
    target = tvm.target.Target(TARGETS[kind])
    if "--select" in sys.argv:
        return selected(network, target)
    modules = [module["main"] for module in (take_apart(network) if "--layers" in sys.argv else [network])]
    failures: list[Any] = []
    threading.excepthook = failures.append  # AutoTVM compiles in a thread, whose end it does not look at
    tasks = autotvm.task.extract_from_multiple_program(modules, [{} for _ in modules], target)
    if failures:
        raise CantTakeError(f"the extraction stopped half-way: {last_line(failures[0].exc_value)}")
    return [[task.name, task.args] for task in tasks]


def selected(network: tvm.IRModule, target: tvm.target.Target) -> list[Any]:
    with target:
        legal = relay.transform.Legalize()(relay.transform.InferType()(network))
    env = autotvm.task.topi_integration.TaskExtractEnv.get()
    env.reset(None)
    with env, target:
        for call in layers_of(legal):
            inputs = [tvm.te.placeholder(each.checked_type.shape, each.checked_type.dtype) for each in call.args]
            try:
                relay.backend.te_compiler.select_implementation(call.op, call.attrs, inputs, call.checked_type, target)
            except Exception as error:
                raise CantTakeError(f"it can't compile {call.op.name}: {last_line(error)}") from error
    found = []
    for name, args in env.get_tasks():
        with contextlib.suppress(tvm.topi.InvalidShapeError):  # as in AutoTVM
            task = autotvm.task.create(name, args, target=target)
            found.append([task.name, task.args])
    return found


def main() -> None:
    found: list[Any] = []
    for model, kind, shapes in json.loads(sys.argv[1]):
        try:
            found.append(extract(model, kind, shapes))
        except CantTakeError as error:  # noqa: PERF203
            if "--reasons" not in sys.argv:
                raise SystemExit(f"{model}: {error}") from error
            found.append(str(error))
    sys.stdout.write(json.dumps(found) + "\n")


main()
