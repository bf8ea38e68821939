"""The processes that build and run kernels."""

import os

import pytest

pytest.importorskip("tvm", reason="needs the extra [tune]")
pytest.importorskip("pebble", reason="needs the extra [tune]")

from threadpoolctl import threadpool_info

from tophub_registry.measurement.workers import Workers


def blas_threads():
    return {library["num_threads"] for library in threadpool_info() if library["user_api"] == "blas"}


@pytest.mark.skipif(len(os.sched_getaffinity(0)) == 1, reason="BLAS has one thread anyway")
def test_blas_has_one_thread_whatever_the_environment_says(monkeypatch):
    for name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS"):
        monkeypatch.setenv(name, "2")
    workers = Workers(1)
    try:
        assert workers.schedule(blas_threads, timeout=60).result() == {1}
    finally:
        workers.close()
