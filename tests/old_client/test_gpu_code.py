"""Real AutoTVM makes kernels of our records for CUDA that a GPU takes; no GPU is needed to see that."""

import random

import pytest

from tests.conftest import sample
from tophub_registry.records.log import read_records, write_log
from tophub_registry.tasks.rules import is_own

TARGET = "cuda -arch=sm_70"
PROCESSES = 2
UPSTREAM = 20
OF_EACH_TASK = 5


def falsified(record):
    """Return a record whose block has as many threads as its tile has outputs, too many."""
    entity = [
        knob._replace(value=[1, 1, knob.value[0] * knob.value[1] * knob.value[2] * knob.value[3], 1])
        if knob.name in ("tile_f", "tile_y", "tile_x")
        else knob
        for knob in record.config.entity
    ]
    return record.model_copy(update={"config": record.config.model_copy(update={"entity": entity})})


@pytest.mark.slow
def test_a_log_of_upstreams_and_a_record_that_no_gpu_takes(old_client, upstream, tmp_path):
    records = random.Random(3).sample(list(read_records(upstream / "cuda_v0.08.log")), UPSTREAM)
    wrong = falsified(next(record for record in records if record.input.task == "conv2d_nchw.cuda"))
    log = tmp_path / "sample.log"
    log.write_text("# a comment\n" + "".join(f"{record.to_json()}\n" for record in [*records, wrong]))
    answer = old_client.run("gpu_code", log, TARGET, PROCESSES)
    assert answer["passed"] == UPSTREAM
    assert answer["failures"] == [[UPSTREAM + 2, "conv2d_nchw.cuda", "asks for more than a GPU has"]]


@pytest.mark.slow
def test_every_record_of_our_packages_for_cuda(old_client, registry, exhaustive, tmp_path):
    """Or five of each task, unless all are wanted; those of our own templates are none of an old client's business."""
    records = [each for each in read_records(max(registry.glob("cuda_v*.log"))) if not is_own(each.input.task)]
    if not exhaustive:
        records = sample(records, [record.input.task for record in records], OF_EACH_TASK)
    log = tmp_path / "records.log"
    write_log(log, records)
    assert old_client.run("gpu_code", log, TARGET, PROCESSES) == {"passed": len(records), "failures": []}
