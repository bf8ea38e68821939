"""Upstream's records: each is a config of today's space or named with the reason, and they compile for CUDA."""

import shutil
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import pytest

from tests.gpu.check_upstream import choose
from tophub_registry.records.log import read_records
from tophub_registry.templates.registry import TEMPLATES, instantiate
from tophub_registry.templates.validation import check_space

ARCH = "sm_90"
SOME = 4
ON_TENSOR_CORES = Path(__file__).parents[1] / "gpu" / "tensorcore.log"


def errors(record):
    return [finding for finding in check_space(record) if finding.severity == "error"]


def turned(record):
    """Return the record with the knobs of the kernel's rows and columns in each other's place."""
    values = {knob.name: knob.value for knob in record.config.entity}
    other = {"tile_ry": "tile_rx", "tile_rx": "tile_ry"}
    entity = [knob._replace(value=values[other.get(knob.name, knob.name)]) for knob in record.config.entity]
    return record.model_copy(update={"config": record.config.model_copy(update={"entity": entity})})


def test_every_row_for_cpus_is_a_config_of_its_space(upstream):
    records = [record for record in read_records(upstream / "llvm_v0.04.log") if record.input.task in TEMPLATES]
    assert len(records) == 35
    assert not any(map(errors, records))


@pytest.mark.parametrize("version", ["v0.07", "v0.08"])
def test_every_row_for_cuda_is_a_config_of_its_space_or_was_written_for_the_kernel_turned(upstream, version):
    """Of 688 rows 36 are not: their kernels are 1x3, 3x1, 1x7 or 7x1, and their knobs split the rows of a kernel
    where AutoTVM's split its columns, and the other way round. All the others fit.
    """
    records = list(read_records(upstream / f"cuda_{version}.log"))
    assert len(records) == 688
    assert {record.input.task for record in records} <= set(TEMPLATES)
    unfit = [record for record in records if errors(record)]
    assert len(unfit) == 36
    for record in unfit:
        _, (_, (*_, height, width), _), *_ = record.input.args
        assert height != width
        assert not errors(turned(record))


def test_every_row_for_cuda_is_one_that_a_device_takes(upstream):
    for record in read_records(upstream / "cuda_v0.08.log"):
        assert instantiate(record.input.task, record.input.args).feasible(record.config, record.target), record


def compile_job(job):
    """Return the length of a config's CUDA source."""
    import tvm

    target = tvm.target.Target({"kind": "cuda", "arch": ARCH})
    template = instantiate(job.task, job.args)
    with tvm.transform.PassContext(opt_level=3, config=dict(template.pass_config)):
        return tvm.compile(template.schedule(job.config).mod, target=target).mod.imports[0].inspect_source()


def test_every_row_for_tensor_cores_is_a_config_of_its_space():
    records = list(read_records(ON_TENSOR_CORES))
    assert len(records) == 50
    assert not [finding for record in records for finding in check_space(record)]


def check_that_they_compile(jobs):
    """Compile all of them to CUDA, and the shortest few with nvcc, where there is one."""
    tvm = pytest.importorskip("tvm", reason="needs the extra [tune]")
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
        sources = list(pool.map(compile_job, jobs))
    assert all("__global__" in source for source in sources)
    if shutil.which("nvcc"):
        from tvm.support.nvcc import compile_cuda

        with tvm.target.Target({"kind": "cuda", "arch": ARCH}):
            for source in sorted(sources, key=len)[:SOME]:
                assert compile_cuda(source, target_format="cubin", arch=ARCH, compiler="nvcc")


@pytest.mark.slow
def test_two_hundred_of_them_compile_for_cuda(upstream, exhaustive):
    """Or every fifth of these, unless all are wanted."""
    jobs = choose(upstream / "cuda_v0.08.log")
    assert len(jobs) == 200
    check_that_they_compile(jobs if exhaustive else jobs[::5])


@pytest.mark.slow
def test_those_for_tensor_cores_compile_for_cuda(exhaustive):
    """Or every fifth of them, unless all are wanted."""
    jobs = choose(ON_TENSOR_CORES)
    assert len(jobs) == 50
    check_that_they_compile(jobs if exhaustive else jobs[::5])
