"""Kernels are timed with cold weights: no two runs in a row, nor many after one another, read the same ones."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

pytest.importorskip("tvm", reason="needs the extra [tune]")

import tvm

from tophub_registry.measurement.timing import ColdWeights


def array(*shape: int, dtype: str = "float32") -> tvm.runtime.Tensor:
    return tvm.runtime.tensor(np.zeros(shape, dtype))


def addresses(weights: tvm.runtime.Tensor, runs: int, count: int = 1) -> list[tuple[int, ...]]:
    """Return where a kernel's arguments were in each run, having checked what the weights were."""
    seen = []

    def kernel(*arguments: tvm.runtime.Tensor) -> None:
        for each in arguments[1:-1]:
            assert (tuple(each.shape), each.dtype) == (tuple(weights.shape), weights.dtype)
            values = each.numpy()
            assert np.isfinite(values).all()
            assert len(np.unique(values)) > 8
        seen.append(tuple(np.from_dlpack(each).ctypes.data for each in arguments))

    clock = ColdWeights().clock(kernel, [array(4), *[weights] * count, array(4)], count)
    assert clock(runs // 2) > 0
    assert clock(runs - runs // 2) > 0
    return seen


@pytest.mark.slow
@pytest.mark.parametrize("dtype", ["float32", "float16", "int8"])
def test_each_run_reads_weights_that_were_used_96_mib_ago_or_never(dtype: str) -> None:
    weights = array(3, 1 << 20, dtype=dtype)
    seen = addresses(weights, 100)
    where = [at for _, at, _ in seen]
    size = weights.numpy().nbytes
    fitting = (96 << 20) // size
    assert len(set(where)) == fitting
    assert all(len(set(where[start : start + fitting])) == fitting for start in range(100 - fitting))
    assert len({(data, output) for data, _, output in seen}) == 1  # these are left as the run before left them


def test_weights_of_any_size_are_aligned_and_apart() -> None:
    where = sorted(at for _, *both, _ in addresses(array(3, 5, 7), 50, count=2) for at in both)
    assert len(set(where)) == 100
    assert all(at % 64 == 0 for at in where)
    assert min(b - a for a, b in itertools.pairwise(where)) >= 3 * 5 * 7 * 4


def test_a_kernel_without_weights_is_timed_on_the_same_arrays() -> None:
    assert len(set(addresses(array(8), 10, count=0))) == 1


@pytest.mark.slow
def test_weights_larger_than_all_others_together_are_their_own() -> None:
    weights = tvm.runtime.tensor(np.random.default_rng(1).uniform(-1, 1, 25 << 20).astype("float32"))
    (where,) = set(addresses(weights, 2))
    assert where[1] == np.from_dlpack(weights).ctypes.data
