"""`tophub_registry.tophub` in a TVM that has AutoTVM: `dropin.py COMMAND ARGUMENTS`, each command a function here."""

from __future__ import annotations

import json
import logging
import sys
from pathlib import Path
from typing import Any

import numpy as np
import tvm
from tvm import autotvm, relay
from tvm.autotvm.task import DispatchContext

from tophub_registry import tophub
from tophub_registry.errors import TophubError


def hashable(value: Any) -> Any:
    return tuple(map(hashable, value)) if isinstance(value, list) else value


def configs(context: DispatchContext, target: str, workloads: list[list[Any]]) -> list[list[Any] | None]:
    """Ask a context for workloads, `[task, argument, …]` each; None where it has no answer."""
    with autotvm.FallbackContext(), context, tvm.target.Target(target) as current:
        found = [DispatchContext.current.query(current, hashable(workload)) for workload in workloads]
    return [None if config.is_fallback else config.to_json_dict()["entity"] for config in found]


def query(targets: str, workloads: str, *own: str) -> Any:
    """Ask the drop-in's context, and then the same of the TVM that was enabled, for each of the targets."""
    asked, questions = json.loads(targets), json.loads(Path(workloads).read_text())
    answers = []
    for enabled in (False, True):
        if enabled:
            tophub.enable()
        make = autotvm.tophub.context if enabled else tophub.context
        context = make([tvm.target.Target(target) for target in asked], extra_files=list(own) or None)
        answers.append([configs(context, target, questions) for target in asked])
    return {"same": answers[0] == answers[1], "configs": answers[0], "kind": type(context).__name__}


def forms(target: str, workloads: str) -> Any:
    """Give the target in every form that relay.build and users give it."""
    questions = json.loads(Path(workloads).read_text())
    parsed = tvm.target.Target(target)
    given = [target, parsed, [target], (parsed,), tvm.runtime.convert([parsed]), {tvm.cpu().device_type: parsed}]
    return [configs(tophub.context(one), target, questions) for one in given]


def names() -> Any:
    """Enable twice, disable twice: which names of theirs are ours?"""
    theirs = vars(autotvm.tophub)
    original = dict(theirs)
    states = []
    for change in (tophub.enable, tophub.enable, tophub.disable, tophub.disable):
        change()
        states.append(sorted(name for name in original if theirs[name] is not original[name]))
    return {"states": states, "signatures": signatures(original), "version": dict(tophub.PACKAGE_VERSION)}


def signatures(original: dict[str, Any]) -> list[list[list[str]]]:
    import inspect

    functions = ("context", "check_backend", "download_package", "load_reference_log")
    return [
        [list(inspect.signature(module[name]).parameters) for name in functions] for module in (original, vars(tophub))
    ]


def fetching(location: str, package: str) -> Any:
    """Let AutoTVM's own functions, enabled, look for a package."""
    tophub.enable()
    result: dict[str, Any] = {"check": autotvm.tophub.check_backend(location, package)}
    try:
        autotvm.tophub.download_package(location, f"{package}_{autotvm.tophub.PACKAGE_VERSION[package]}.log")
    except TophubError as error:
        result["error"] = str(error)
    result["root"] = str(autotvm.tophub.AUTOTVM_TOPHUB_ROOT_PATH)
    return result


def reference(backend: str, model: str, task: str) -> Any:
    """Load a reference log, ours and theirs."""
    answers = []
    for enabled in (True, False):
        (tophub.enable if enabled else tophub.disable)()
        if not enabled:
            autotvm.tophub.PACKAGE_VERSION[backend] = tophub.PACKAGE_VERSION[backend]
        pairs = autotvm.tophub.load_reference_log(backend, model, task)
        answers.append([[inp.target.model, inp.config.to_json_dict()["index"], *res.costs] for inp, res in pairs])
    return answers


def build(target: str) -> Any:
    """Compile one convolution inside the context, and compare its result with the untuned one's."""
    data = relay.var("data", shape=(1, 16, 32, 32))
    weight = relay.var("weight", shape=(16, 16, 3, 3))
    network = relay.Function([data, weight], relay.nn.conv2d(data, weight, padding=(1, 1), channels=16, kernel_size=3))
    asked: list[bool] = []
    plain = DispatchContext.query

    def query(self: DispatchContext, target: Any, workload: Any) -> Any:
        config = plain(self, target, workload)
        if workload is not None and self is DispatchContext.current:
            asked.append(config.is_fallback)
        return config

    DispatchContext.query = query
    arrays = [
        np.random.default_rng(0).standard_normal(shape).astype("float32") for shape in ((1, 16, 32, 32), (16, 16, 3, 3))
    ]
    results = []
    for context in (tophub.context(target), autotvm.FallbackContext()):
        with autotvm.FallbackContext(), context, tvm.transform.PassContext(opt_level=3):
            library = relay.build(tvm.IRModule.from_expr(network), target=target)
        module = tvm.contrib.graph_executor.GraphModule(library["default"](tvm.cpu()))
        module.run(data=arrays[0], weight=arrays[1])
        results.append(module.get_output(0).numpy())
    return {"fallbacks": asked, "difference": float(np.abs(results[0] - results[1]).max())}


class Notes(logging.Handler):
    """Keeps what is logged."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(f"{record.levelname}: {record.getMessage()}")


notes = Notes()
logging.getLogger("autotvm").addHandler(notes)
logging.getLogger("autotvm").setLevel(logging.INFO)
answer = {command.__name__: command for command in (query, forms, names, fetching, reference, build)}[sys.argv[1]](
    *sys.argv[2:]
)
sys.stdout.write(json.dumps({"answer": answer, "log": notes.lines}) + "\n")
