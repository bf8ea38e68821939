"""The device at hand: a target is spelled out for this machine, and what can't run here is refused."""

import os
import subprocess
import sys

import pytest

pytest.importorskip("tvm", reason="needs the extra [tune]")

from tophub_registry.errors import EnvironmentFailure, InputError, UsageError
from tophub_registry.records.target import Target
from tophub_registry.tuner.device import check_runs_here, resolve
from tophub_registry.tuner.measure import Measurer


def test_llvm_alone_means_this_machines_processor():
    assert resolve("llvm").attributes["mcpu"]
    assert resolve("llvm -mcpu=znver3").attributes == {"mcpu": "znver3"}


@pytest.mark.parametrize(
    ("text", "error", "reason"),
    [
        ("fpga", UsageError, "known kinds"),
        ("llvm -mcpu=pentium9", UsageError, "no processor"),
        ("", InputError, "not a target"),
    ],
)
def test_unknown_targets_are_refused(text, error, reason):
    with pytest.raises(error, match=reason):
        resolve(text)


def test_code_that_this_machine_lacks_the_instructions_for_is_not_run():
    check_runs_here(resolve("llvm"))
    check_runs_here(Target.parse("llvm -mcpu=x86-64"))
    with pytest.raises(EnvironmentFailure, match="it lacks"):
        check_runs_here(Target.parse("llvm -mcpu=diamondrapids"))


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="TVM never starts more threads than there are cores")
@pytest.mark.parametrize("threads", ["1", "2"])
def test_the_number_of_threads_follows_tvms_variables(threads):
    program = (
        "from tophub_registry.tuner.device import describe, resolve\n"
        "from tophub_registry.tuner.measure import Measurer\n"
        "if __name__ == '__main__':\n"
        "    with Measurer(resolve('llvm'), workers=1) as measurer:\n"
        "        said = describe(measurer.runtime_threads())\n"
        "        print(said.threads, said.bind_threads)\n"
    )
    env = {**os.environ, "TVM_NUM_THREADS": threads, "TVM_BIND_THREADS": "0"}
    run = subprocess.run([sys.executable, "-c", program], env=env, capture_output=True, text=True, check=True)
    assert run.stdout.split() == [threads, "False"]


def test_measuring_leaves_this_process_on_all_its_cores():
    cores = os.sched_getaffinity(0)
    with Measurer(resolve("llvm"), workers=1) as measurer:
        measurer.runtime_threads()
    assert os.sched_getaffinity(0) == cores
