"""Elementary functions computed without the C library: as exact as float32 asks for, and vectorized."""

import math

import numpy as np
import pytest

pytest.importorskip("tvm", reason="needs the extra [compile]")

import tvm
import tvm_ffi
from tvm import s_tir, te

from tophub_registry.compiler.elementary import vectorizable

LANES = 16
NUMBERS = np.concatenate(
    [np.linspace(-100, 100, 20000), np.linspace(-1, 1, 20000), [0.0, -0.0, 1e-30, 1e-6, np.inf, -np.inf, np.nan, 88.7]]
).astype("float32")

EXACT = {
    "exp": np.exp,
    "tanh": np.tanh,
    "erf": np.vectorize(math.erf),
    "sigmoid": lambda x: 1 / (1 + np.exp(-x)),
}


def kernel(name, processor):
    """Return a compiled loop over vectors that applies a function of `te`."""
    data = te.placeholder((len(NUMBERS),), name="data")
    output = te.compute((len(NUMBERS),), lambda i: getattr(te, name)(data[i]), name="output")
    sch = s_tir.Schedule(te.create_prim_func([data, output]).with_attr("global_symbol", "main"))
    _, lane = sch.split(sch.get_loops(sch.get_sblock("output"))[0], [None, LANES])
    sch.vectorize(lane)
    module = tvm.IRModule({"main": vectorizable(sch.mod["main"])})
    return tvm.compile(module, target=tvm.target.Target({"kind": "llvm", "mcpu": processor}))


@pytest.mark.parametrize("name", EXACT)
def test_the_results_are_exact_to_a_few_units_in_the_last_place(name):
    output = tvm.runtime.tensor(np.empty_like(NUMBERS))
    kernel(name, "x86-64-v3")(tvm.runtime.tensor(NUMBERS), output)
    found = output.numpy()
    with np.errstate(over="ignore"):
        exact = EXACT[name](NUMBERS.astype("float64"))
        exact = np.where(np.abs(exact) < 1e-37, 0, exact).astype("float32")  # exp of less than -86 is 0
    np.testing.assert_allclose(found, exact, rtol=5e-7, atol=2e-37)
    if name in ("tanh", "erf"):
        assert np.nanmax(np.abs(found)) <= 1


@pytest.mark.parametrize("processor", ["x86-64-v3", "x86-64-v4"])
@pytest.mark.parametrize("name", EXACT)
def test_the_c_library_is_not_called(name, processor):
    assert f"{name.replace('sigmoid', 'exp')}f" not in kernel(name, processor).mod.inspect_source("asm")


def test_another_type_is_left_alone():
    data = te.placeholder((LANES,), "float64", name="data")
    function = te.create_prim_func([data, te.compute((LANES,), lambda i: te.exp(data[i]))])
    calls = []
    body = vectorizable(function).body
    tvm_ffi.structural_walk(body, [(tvm.ir.Call, lambda call: calls.append(call.op.name))], order="post")
    assert calls == ["tirx.exp"]
