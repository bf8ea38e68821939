"""Measuring: what is kept of a config that is sound; for the others see `test_faults.py`."""

import subprocess
import sys
import time
from concurrent.futures import Future
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from threading import Condition

import pytest

from tests.tuner.faulty import Faulty
from tophub_registry.errors import EnvironmentFailure
from tophub_registry.records.record import Config
from tophub_registry.records.task import tensor
from tophub_registry.templates.registry import instantiate

pytest.importorskip("tvm", reason="needs the extra [tune]")
pytest.importorskip("pebble", reason="needs the extra [tune]")

from tophub_registry.devices.device import resolve
from tophub_registry.measurement.measure import Measurer


@pytest.fixture(scope="module")
def measurer():
    with Measurer(resolve("llvm")) as measurer:
        yield measurer


def test_all_repeats_are_kept_and_hopeless_kernels_are_timed_once(measurer):
    template = instantiate("dense_nopack.x86", [tensor([1, 512]), tensor([512, 512]), None, "float32"])
    configs = [template.space.config(index) for index in (3, 40)]
    assert [len(m.result.costs) for m in measurer.measure(template, configs)] == [3, 3]
    assert [len(m.result.costs) for m in measurer.measure(template, configs, best=1e-9)] == [1, 1]


def test_results_carry_the_time_they_took_and_when(measurer):
    template = Faulty(["none"])
    before = time.time()
    (measured,) = measurer.measure(template, [template.space.config(0)])
    assert before <= measured.result.timestamp <= time.time()
    assert 0 < measured.result.all_cost < 60


def test_kernels_are_compared_in_turns(measurer):
    template = instantiate("dense_nopack.x86", [tensor([1, 512]), tensor([512, 512]), None, "float32"])
    costs = measurer.compare(template, [template.space.config(3), template.space.config(40)], rounds=5)
    assert [len(times) for times in costs] == [5, 5]
    assert all(0 < seconds < 1 for times in costs for seconds in times)


def test_configs_travel_as_records_do(measurer):
    template = Faulty(["none"])
    config = Config.model_validate_json(template.space.config(0).model_dump_json())
    (measured,) = measurer.measure(template, [config])
    assert measured.result.error_no == 0


def test_builders_that_are_killed_over_and_over_are_given_up(measurer, monkeypatch):
    tries = []

    def killed(*_):
        tries.append(Future())
        tries[-1].set_exception(BrokenProcessPool("as where the memory is full"))
        return tries[-1]

    monkeypatch.setattr(measurer, "_build", killed)
    template = Faulty(["none"])
    with pytest.raises(EnvironmentFailure, match=r"killed 4 times.*out of memory"):
        list(measurer.measure(template, [template.space.config(0)]))
    assert len(tries) == 4


def test_every_process_is_ended_even_where_one_can_not_be(monkeypatch):
    measurer = Measurer(resolve("llvm"), workers=1)
    worker, folder = measurer._device_workers[0], measurer._folder.name
    closed = []

    class Stuck:
        def close(self):
            closed.append(self)
            raise OSError("stuck")

    measurer._device_workers += [Stuck(), Stuck()]
    close = worker.close
    monkeypatch.setattr(worker, "close", lambda: (closed.append(worker), close()))
    with pytest.raises(OSError, match="stuck"):
        measurer.close()
    assert len(closed) == 3
    assert not Path(folder).exists()


@pytest.mark.slow
def test_a_script_without_a_guard_runs_once(tmp_path):
    """A spawned process would import the script that started it, which would measure again, and so on."""
    script = tmp_path / "script.py"
    script.write_text(
        "from tophub_registry.devices.device import resolve\n"
        "from tophub_registry.measurement.measure import Measurer\n"
        "from tophub_registry.templates.registry import instantiate\n"
        "print('once')\n"
        "args = [['TENSOR', [1, 32], 'float32'], ['TENSOR', [12, 32], 'float32'], None, 'float32']\n"
        "template = instantiate('dense_nopack.x86', args)\n"
        "target = resolve('llvm')\n"
        "with Measurer(target) as measurer:\n"
        "    (measured,) = measurer.measure(template, [template.default(target)])\n"
        "print(measured.result.error_no)\n"
    )
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, check=False, timeout=300)
    assert done.stdout.split() == ["once", "0"], done.stderr


def test_ctrl_c_is_one_even_where_it_costs_a_condition_its_lock(measurer, monkeypatch):
    """Seen on a machine with 16 builders: the interrupt struck inside of `threading.Condition.wait`."""

    def struck(*_, **__):
        condition = Condition()
        with condition:
            condition.release()  # as `wait` does, which then is interrupted before it has the lock again
            raise KeyboardInterrupt

    monkeypatch.setattr("tophub_registry.measurement.measure.wait", struck)
    template = Faulty(["none"])
    with pytest.raises(KeyboardInterrupt):
        list(measurer.measure(template, [template.space.config(0)]))
