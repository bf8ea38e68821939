"""The device at hand: a target is spelled out for this machine, and what can't run here is refused."""

import os
import subprocess
import sys
from types import SimpleNamespace

import pytest

pytest.importorskip("tvm", reason="needs the extra [tune]")

from tophub_registry.devices.device import check_runs_here, compiled_for, resolve
from tophub_registry.devices.gpu import architecture_of, model_of
from tophub_registry.devices.processor import physical_cores
from tophub_registry.errors import EnvironmentFailure, InputError, UsageError
from tophub_registry.measurement.measure import Measurer
from tophub_registry.records.target import Target


def test_llvm_alone_means_this_machines_processor():
    assert resolve("llvm").attributes["mcpu"]
    assert resolve("llvm -mcpu=znver3").attributes == {"mcpu": "znver3"}


@pytest.mark.parametrize(
    ("text", "error", "reason"),
    [
        ("fpga", UsageError, "supported kinds"),
        ("llvm -mcpu=pentium9", UsageError, "no processor"),
        ("", InputError, "not a target"),
    ],
)
def test_unknown_targets_are_refused(text, error, reason):
    with pytest.raises(error, match=reason):
        resolve(text)


def test_a_misspelt_option_of_a_target_is_refused():
    with pytest.raises(UsageError, match=r"not a target of TVM's: Unknown config option 'mpcu'"):
        compiled_for(Target.parse("llvm -mpcu=znver4"))


def test_code_that_this_machine_lacks_the_instructions_for_is_not_run():
    check_runs_here(resolve("llvm"))
    check_runs_here(Target.parse("llvm -mcpu=x86-64"))
    with pytest.raises(EnvironmentFailure, match="it lacks"):
        check_runs_here(Target.parse("llvm -mcpu=diamondrapids"))


@pytest.mark.slow
@pytest.mark.skipif(physical_cores() < 2, reason="TVM never starts more threads than there are cores")
@pytest.mark.parametrize("threads", ["1", pytest.param("2", marks=pytest.mark.exhaustive), None])
def test_the_number_of_threads_follows_tvms_variables_and_is_else_the_cores(threads):
    program = (
        "from tophub_registry.devices.device import resolve\n"
        "from tophub_registry.measurement.measure import Measurer\n"
        "if __name__ == '__main__':\n"
        "    with Measurer(resolve('llvm'), workers=1) as measurer:\n"
        "        said = measurer.describe()\n"
        "        print(said.threads, said.bind_threads)\n"
    )
    env = {**os.environ, "TVM_NUM_THREADS": threads or "", "OMP_NUM_THREADS": "", "TVM_BIND_THREADS": "0"}
    run = subprocess.run([sys.executable, "-c", program], env=env, capture_output=True, text=True, check=True)
    assert run.stdout.split() == [threads or str(physical_cores()), "False"]


@pytest.mark.slow
def test_measuring_leaves_this_process_on_all_its_cores():
    cores = os.sched_getaffinity(0)
    with Measurer(resolve("llvm"), workers=1) as measurer:
        measurer.describe()
    assert os.sched_getaffinity(0) == cores


def test_cuda_needs_a_gpu_where_the_target_leaves_it_to_the_machine():
    import tvm

    if tvm.cuda(0).exist:
        assert resolve("cuda").model != "unknown"
    else:
        with pytest.raises(EnvironmentFailure, match="no CUDA device"):
            resolve("cuda")
        with pytest.raises(EnvironmentFailure, match="no CUDA device"):
            check_runs_here(resolve("cuda -model=h100"))


@pytest.mark.parametrize(("named", "compiled"), [("sm_80", "sm_80"), ("sm_90", "sm_90a"), ("sm_90a", "sm_90a")])
def test_a_kernel_is_compiled_for_the_architecture_that_the_target_names_with_all_its_instructions(named, compiled):
    assert compiled_for(Target.parse(f"cuda -model=h100 -arch={named}")) == {
        "kind": "cuda",
        "model": "h100",
        "arch": compiled,
    }


def test_a_gpu_has_the_model_and_the_architecture_that_targets_name():
    assert [model_of(name) for name in ("NVIDIA H100 80GB HBM3", "NVIDIA GeForce RTX 3090")] == ["h100", "rtx3090"]
    assert [architecture_of(SimpleNamespace(compute_version=its)) for its in ("8.6", "9.0")] == ["sm_86", "sm_90a"]
