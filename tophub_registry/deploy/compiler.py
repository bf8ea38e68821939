"""A whole model compiled with records, and what became of each of its layers."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tvm
from tvm import relax

from tophub_registry.deploy.lowering import LayerKernel, lower
from tophub_registry.deploy.schedules import schedule_all
from tophub_registry.records.lookup import Answer
from tophub_registry.records.target import Target
from tophub_registry.tuner.device import compiled_for

def compile_module(module: tvm.IRModule, target: Target, answers: Callable[[str], list[Answer]], *, graph=True):
    lowered = lower(module, target, answers)
    description = tvm.target.Target(compiled_for(target), host="llvm") if target.kind == "cuda" else tvm.target.Target(compiled_for(target))
    with description:
        fused = tvm.transform.Sequential(
            [
                relax.transform.LegalizeOps(),
                relax.transform.AnnotateTIROpPattern(),
                relax.transform.FoldConstant(),
                relax.transform.FuseOps(),
                relax.transform.FuseTIR(),
                relax.transform.DeadCodeElimination(),
            ]
        )(lowered.module)
    scheduled = schedule_all(fused, description, lowered.kernels)
    with tvm.transform.PassContext(opt_level=3, config={"relax.backend.use_cuda_graph": target.kind == "cuda"}):
        return lowered, scheduled, tvm.compile(scheduled, target=description)
