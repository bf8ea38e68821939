"""Tasks that were called otherwise before TVM 0.8: they are known, and can be written for its clients."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.records.rows import record, row
from tophub_registry.records.convert import convert_log
from tophub_registry.records.log import read_records
from tophub_registry.records.lookup import Source, lookup
from tophub_registry.records.names import for_tvm_0_7
from tophub_registry.records.record import workload_key
from tophub_registry.records.rows import parse_record
from tophub_registry.records.task import tensor
from tophub_registry.records.unconvertible import NoConversionError

T4 = "cuda -model=t4"
DENSE = [tensor([1, 768]), tensor([768, 768]), None, "float32"]


def dense(task: str) -> str:
    value = row(target=T4, task=task)
    value["input"][2] = DENSE
    value["config"]["entity"] = [["tile_k", "sp", [-1, 64]]]
    return json.dumps(value)


@pytest.mark.parametrize("size", ["small", "large"])
def test_a_dense_layer_of_a_gpu_has_todays_name(size, tmp_path):
    log = tmp_path / "old.log"
    log.write_text(dense(f"dense_{size}_batch.cuda") + "\n")
    (read,) = read_records(log)
    assert read.input.task == f"dense_{size}_batch.gpu"
    answer = lookup(T4, workload_key(f"dense_{size}_batch.gpu", DENSE, {}), [Source("it", log)])
    assert answer.record == read


def test_conversion_writes_either_name(tmp_path: Path):
    old, new, again = tmp_path / "old.log", tmp_path / "new.log", tmp_path / "again.log"
    old.write_text(dense("dense_small_batch.cuda") + "\n# mine\n" + json.dumps(row()) + "\n")
    report = convert_log(old, new)
    assert (report.converted, report.unchanged, report.comments) == (1, 1, 1)
    assert "dense_small_batch.gpu" in new.read_text()
    convert_log(new, again, for_0_7=True)
    assert again.read_text() == old.read_text()


def test_tvm_0_7_has_no_padding_of_a_transposed_convolutions_output():
    args = [tensor([1, 64, 8, 8]), tensor([64, 32, 4, 4]), [2, 2], [1, 1, 1, 1], "float32", [0, 0], 1]
    value = row(target=T4, task="conv2d_transpose_nchw.cuda")
    value["input"][2] = args
    assert for_tvm_0_7(parse_record(json.dumps(value))).input.args == args[:5]
    value["input"][2] = [*args[:5], [1, 1], 1]
    with pytest.raises(NoConversionError, match=r"TVM 0\.7 has no"):
        for_tvm_0_7(parse_record(json.dumps(value)))
    assert for_tvm_0_7(record()) == record()
