"""Functions of several kernels, whose intermediate results become outputs."""

from __future__ import annotations

import importlib.util
from typing import Any

import pytest

if not importlib.util.find_spec("tvm"):
    pytest.skip("TVM is not installed", allow_module_level=True)

import numpy as np
import tvm
from tvm import relax, tirx

from tests.gpu.cuda_on_cpu import ARCH, run_module
from tests.gpu.workloads import conv2d
from tophub_registry.compiler.intermediates import as_outputs
from tophub_registry.templates.registry import instantiate

SPLIT = {"tile_m": 32, "tile_n": 32, "tile_k": 16, "warps_m": 2, "warps_n": 1, "split_k": 2, "stages": 2, "raster": 0}
WINDOW = ([1, 32, 7, 6], [24, 32, 3, 3], 1, (1, 1, 1, 1))
ALLOCATION = "TVMBackendAllocWorkspace"


def program(task: str, values: dict[str, Any]) -> tuple[tvm.IRModule, list[Any], Any, Any]:
    """Return a module that calls a template's kernels twice, its inputs, and what makes and checks the outputs."""
    template = instantiate(*conv2d(task, *WINDOW))
    config = template.space.where(values).config(0)
    assert template.possible(config)
    rng = np.random.default_rng(3)
    inputs = [rng.uniform(-1, 1, shape).astype("float32") for shape in template.workload.inputs]
    packed = [np.ascontiguousarray(array) for array in template.pack(config, inputs)]
    *_, out = template.tensors(config)
    kernel = template.schedule(config).mod["main"].without_attr("global_symbol").with_attr("tirx.is_scheduled", True)
    builder = relax.BlockBuilder()
    taken = [relax.Var(f"x{i}", relax.TensorType(each.shape, str(each.dtype))) for i, each in enumerate(packed)]
    result = relax.TensorType(out.shape, out.dtype)
    with builder.function("main", taken):
        with builder.dataflow():
            name = builder.add_func(kernel, "kernel")
            calls = [builder.emit(relax.call_tir(name, relax.Tuple(taken), out_ty=result)) for _ in range(2)]
            output = builder.emit_output(relax.Tuple(calls))
        builder.emit_func_output(output)
    return builder.get(), packed, (template, config), inputs


def host_code(module: tvm.IRModule, config: dict[str, Any]) -> str:
    """Return what TVM generates for the functions' host side."""
    functions = {name: its for name, its in module.functions_items() if isinstance(its, tirx.PrimFunc)}
    named = {name: its.with_attr("global_symbol", name.name_hint) for name, its in functions.items()}
    target = tvm.target.Target({"kind": "cuda", "arch": ARCH}, host="llvm")
    with tvm.transform.PassContext(opt_level=3, config=config):
        return str(tvm.compile(tvm.IRModule(named), target=target).mod.inspect_source("ll"))


@pytest.mark.slow
@pytest.mark.parametrize(("task", "values"), [("conv2d_nchw_mma_tf32", SPLIT), ("conv2d_nchw_winograd", {})])
def test_no_function_allocates_memory_and_the_results_stay_right(task, values):
    module, packed, (template, config), inputs = program(task, values)
    assert ALLOCATION in host_code(module, dict(template.pass_config))
    changed = as_outputs(module)
    assert ALLOCATION not in host_code(changed, dict(template.pass_config))
    right = template.workload.reference([array.astype(np.float64) for array in inputs])
    for output in run_module(changed, packed):
        assert np.abs(template.unpack(config, output) - right).max() <= template.tolerance * np.abs(right).max()


def test_a_function_without_such_memory_is_left_alone():
    module, *_ = program("conv2d_nchw_mma_tf32", {**SPLIT, "split_k": 1})
    tvm.ir.assert_structural_equal(as_outputs(module), module)
