"""The device's measured peak: no kernel exceeds it by more than noise, and it follows the number of threads."""

import os
import subprocess
import sys

import pytest

pytest.importorskip("tvm", reason="needs the extra [tune]")

import numpy as np
import tvm

from tophub_registry.devices import peak
from tophub_registry.devices.processor import features, processor
from tophub_registry.records.target import Target

PROGRAM = """
import numpy as np, time, tvm
from tophub_registry.devices.peak import measure_peak
peak = measure_peak("llvm")
a = np.ones((768, 768), "float32")
rates = []
for _ in range(8):
    began = time.perf_counter()
    a @ a
    rates.append(2 * 768**3 / (time.perf_counter() - began) / 1e9)
print(peak, max(rates))
"""


def test_a_matrix_product_by_numpy_comes_near_the_processors_peak_and_not_above_it():
    threads = {"TVM_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    has = features(Target.parse(f"llvm -mcpu={processor()}"))  # OpenBLAS takes whatever this machine really has
    if "avx512f" not in has:
        threads["OPENBLAS_CORETYPE"] = "Haswell" if "avx2" in has else "Nehalem"
    # The two are measured one after the other, on a machine that may be busy meanwhile.
    for _ in range(5):
        command = [sys.executable, "-c", PROGRAM]
        run = subprocess.run(command, env={**os.environ, **threads}, capture_output=True, text=True, check=True)
        measured, product = map(float, run.stdout.split())
        if 0.2 * measured < product < 1.1 * measured:
            return
    pytest.fail(f"the peak is {measured}, and a product of matrices reaches {product} GFLOPS")


def test_the_kernel_does_the_multiply_adds_that_are_counted():
    work = peak.Work(groups=1, lanes=4, sums=12, steps=3)
    kernel = tvm.compile(peak.multiply_adds("llvm", work), target=tvm.target.Target({"kind": "llvm"}))
    factors = tvm.runtime.tensor(np.array([3.0, 2.0], "float32"))
    out = tvm.runtime.tensor(np.zeros((1, 4), "float32"))
    kernel["main"](factors, out)
    assert work.flop == 2 * 4 * 12 * 3
    # Three times `3 x + 2` is `27 x + 26`.
    assert (out.numpy() == sum(27 * start + 26 for start in range(12))).all()


def test_the_kernel_for_a_gpu_is_a_loop_over_registers():
    kernel = peak.multiply_adds("cuda", peak.gpu_work(132))
    # TVM calls the system's nvcc only where there is one; the source is there either way.
    compiled = tvm.compile(kernel, target=tvm.target.Target({"kind": "cuda", "arch": "sm_90"}))
    source = compiled.mod.imports[0].inspect_source()
    assert source.count("* factors_ptr[0]) + factors_ptr[1]") == 8 * 16
    assert "__shared__" not in source
    assert peak.gpu_work(132).flop / 66.9e12 < 0.001


def test_a_device_that_is_not_there_has_no_peak():
    if tvm.cuda(0).exist:
        pytest.skip("there is a GPU")
    assert peak.measure_peak("cuda") is None
