"""Records of AutoTVM's templates for tensor cores, as AutoTVM writes them: they are valid, feasible where it builds
them, and their kernels compute the right thing."""

import json

import numpy as np
import pytest

from tests.gpu.workloads import WORKLOADS
from tophub_registry.records.log import read_records
from tophub_registry.records.target import Target
from tophub_registry.records.validate import validate_log
from tophub_registry.templates.registry import instantiate
from tophub_registry.templates.validation import check_space

pytest.importorskip("tvm", reason="needs the extra [tune]")

TASKS = [{"task": task, "args": args} for task, args in WORKLOADS if "_tensorcore" in task]
TARGET = "cuda -arch=sm_70"
PROCESSES = 2
OF_EACH_WORKLOAD, OF_EACH_RUN = 20, 1


@pytest.fixture(scope="module")
def log(old_client, tmp_path_factory):
    """A log of random configs of every workload."""
    folder = tmp_path_factory.mktemp("drawn")
    (folder / "tasks.json").write_text(json.dumps({"tasks": TASKS}))
    rows = old_client.run("draw", folder / "tasks.json", TARGET, OF_EACH_WORKLOAD, 5)
    (folder / "drawn.log").write_text("".join(f"{row.rstrip()}\n" for row in rows))
    return folder / "drawn.log"


@pytest.fixture(scope="module")
def drawn(log):
    """Its records, each with its template."""
    return [(record, instantiate(record.input.task, record.input.args)) for record in read_records(log)]


@pytest.mark.slow
def test_they_are_valid(log, drawn):
    validation = validate_log(log, checks=[check_space], together=False)
    assert validation.rows == len(drawn) == OF_EACH_WORKLOAD * len(TASKS)
    assert not validation.findings
    assert not validation.unchecked


def larger_than_the_output(template, config):
    """Return whether a tile is, of which AutoTVM's kernel would write what lies beyond."""
    p, (rows, columns) = template.product, template.tiling(config).tile
    return rows > p.rows or columns > p.columns


@pytest.mark.slow
def test_those_that_autotvm_builds_are_feasible_and_no_others(old_client, log, drawn):
    answer = old_client.run("gpu_code", log, TARGET, PROCESSES)
    unbuilt = {line for line, *_ in answer["failures"]}
    feasible = set()
    for line, (record, template) in enumerate(drawn, 1):
        if template.feasible(record.config, Target.parse(TARGET)):
            feasible.add(line)
        elif larger_than_the_output(template, record.config):
            unbuilt.add(line)
    assert feasible
    assert feasible == set(range(1, len(drawn) + 1)) - unbuilt


@pytest.mark.slow
def test_they_compute_the_right_thing(drawn):
    """Even those that AutoTVM can't build."""
    from tests.gpu.cuda_on_cpu import Launch, run_kernels

    rng = np.random.default_rng(7)
    chosen = [each for number, each in enumerate(drawn) if number % OF_EACH_WORKLOAD < OF_EACH_RUN]
    launches = []
    for record, template in chosen:
        given = [rng.uniform(-1, 1, shape).astype(dtype) for _, shape, dtype in template.args[:2]]
        kernel = template.schedule(record.config).mod["main"]
        launches.append(Launch(kernel, given, [tuple(template.tensors(record.config)[-1])]))
    for (record, template), launch, output in zip(chosen, launches, run_kernels(launches), strict=True):
        w = template.workload
        assert output.dtype == w.out_dtype
        expected = w.reference([array.astype("float64") for array in launch.inputs])
        tolerance = 1e-5 if (w.dtype, w.out_dtype) == ("float16", "float32") else template.tolerance
        assert np.abs(output - expected).max() < tolerance * np.abs(expected).max(), record
