"""The kernel of a record as text, for processors and for GPUs that are not here."""

import pytest

pytest.importorskip("tvm", reason="needs the extra [tune]")

from tests.records.rows import record
from tophub_registry.errors import InputError, UsageError
from tophub_registry.records.record import Config, Input, Knob
from tophub_registry.tuner.kernel_source import assembly, kernel_source

DENSE = [["TENSOR", [1, 512], "float32"], ["TENSOR", [1000, 512], "float32"], None, "float32"]


def on_gpu(target):
    config = Config(index=6, code_hash=None, entity=[Knob("tile_k", "sp", [-1, 64])])
    what = Input(target, "dense_small_batch.gpu", DENSE, {})
    return record().model_copy(update={"input": what, "config": config})


def test_of_a_processors_kernel_there_is_the_script_and_the_assembly():
    assert "T.vectorized(32)" in kernel_source(record())
    assert "vfmadd" in assembly(record())


@pytest.mark.parametrize("target", ["cuda -model=h100", "cuda -model=h100 -arch=sm_90"])
def test_of_a_gpus_kernel_there_is_the_cuda_source_without_tvms_preamble(target):
    source = kernel_source(on_gpu(target))
    assert source.startswith('extern "C" __global__ void __launch_bounds__(64) main_kernel(')
    assert source.endswith("}\n")


def test_there_is_no_assembly_for_a_gpu():
    with pytest.raises(UsageError, match="for processors"):
        assembly(on_gpu("cuda -model=h100"))


def test_a_config_that_is_not_in_the_space_has_no_kernel():
    with pytest.raises(InputError, match="not an option of the knob tile_ow"):
        kernel_source(record(tile_ow=5))
    with pytest.raises(InputError, match="no template"):
        kernel_source(record(task="conv2d_nchw_spatial_pack.arm_cpu"))
