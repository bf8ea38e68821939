"""Measuring through TVM's RPC tracker: any number of devices at once, and none of their work is lost with one."""

import json
import socket
import subprocess
import sys
from collections import Counter
from types import SimpleNamespace

import pytest

pytest.importorskip("tvm", reason="needs the extra [tune]")
pytest.importorskip("pebble", reason="needs the extra [tune]")
pytest.importorskip("tornado", reason="TVM's tracker needs it")
pytest.importorskip("cloudpickle", reason="TVM's tracker needs it")

from tests.tuner.servers import KEY, Servers
from tophub_registry.errors import EnvironmentFailure, UsageError
from tophub_registry.measurement.measure import Measurer
from tophub_registry.measurement.rpc import Tracked, _Remote
from tophub_registry.records.log import read_records
from tophub_registry.records.task import Task, TaskFile, tensor
from tophub_registry.templates.registry import instantiate

DENSE = ["dense_nopack.x86", [tensor([1, 64]), tensor([36, 64]), None, "float32"]]


@pytest.fixture(scope="module")
def servers():
    with Servers(3) as servers:
        yield servers


@pytest.mark.slow
def test_one_of_three_devices_is_killed_midway_and_no_config_is_lost_or_measured_twice(servers):
    template = instantiate(*DENSE)
    configs = [template.space.config(index) for index in range(40)]
    told = []
    with Measurer(servers.place.resolve("llvm"), place=servers.place, workers=1, tell=told.append) as measurer:
        said = measurer.describe()
        compared = measurer.compare(template, configs[:2], rounds=4)
        results = []
        for measured in measurer.measure(template, configs):
            results.append(measured)
            if len(results) == 10:
                servers.kill()
        assert len(measurer._device_workers) == 3
    assert Counter(measured.config.index for measured in results) == Counter(range(40))
    assert {measured.message for measured in results} == {None}
    assert all(0 < cost < 1 for measured in results for cost in measured.result.costs)
    assert [len(costs) for costs in compared] == [4, 4]
    assert KEY in said.device
    assert said.threads >= 1


@pytest.mark.slow
def test_tune_as_a_user_types_it(servers, tmp_path):
    tasks, log = tmp_path / "tasks.json", tmp_path / "new.log"
    task = Task(task=DENSE[0], args=DENSE[1], layers=["dense0"])
    TaskFile(model="tiny", kind="llvm", shapes={"data": [1, 64]}, tasks=[task]).write(tasks)
    command = [sys.executable, "-m", "tophub_registry.cli", "tune", tasks, "--trials", "12", "-o", log, "--json"]
    options = ["--rpc-tracker", servers.address, "--rpc-key", KEY]
    run = subprocess.run([*map(str, command), *options], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    assert json.loads(run.stdout)[0]["trials"] == 12
    records = list(read_records(log))
    assert len({record.config.index for record in records}) == len(records) == 12
    assert all(record.valid and KEY in record.tophub.device for record in records)


def test_a_key_that_no_device_has_is_an_error_that_names_it(servers):
    place = Tracked(servers.place.host, servers.place.port, "phone")
    with pytest.raises(EnvironmentFailure, match=r"'phone'.*rpc_server --tracker .* --key phone"):
        place.resolve("llvm")


def test_targets_that_the_devices_can_not_run_are_refused(servers):
    with pytest.raises(EnvironmentFailure, match=r"a device of .* failed: .*it has no cuda device"):
        servers.place.resolve("cuda")
    with pytest.raises(EnvironmentFailure, match="it lacks"):
        servers.place.resolve("llvm -mcpu=diamondrapids")


def test_a_gpu_is_used_before_it_is_asked_its_name(monkeypatch):
    """CUDA tells a server's process neither name nor version until something was done on the device."""
    import tvm

    class Gpu:
        exist, used = True, False

        @property
        def device_name(self):
            if not self.used:
                raise RuntimeError("CUDA_ERROR_NOT_INITIALIZED")
            return "NVIDIA H100"

    gpu = Gpu()
    monkeypatch.setattr(tvm.runtime, "empty", lambda _shape, _dtype, device: setattr(device, "used", True))
    remote = _Remote(SimpleNamespace(cuda=lambda _index: gpu), "h100", 0.0)
    assert remote.describe("cuda").device == "NVIDIA H100"


def test_no_tracker_is_an_error_that_says_how_to_start_one():
    with pytest.raises(EnvironmentFailure, match=r"127.0.0.1:9: .*rpc_tracker"):
        Tracked.parse("127.0.0.1:9", KEY).count()


@pytest.mark.slow
def test_something_else_that_listens_is_no_tracker():
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"127.0.0.1:{silent.getsockname()[1]}"
        with pytest.raises(EnvironmentFailure, match="no tracker responds"):
            Tracked.parse(address, KEY).count()


@pytest.mark.parametrize("address", ["", "localhost", "localhost:", "localhost:x", ":1"])
def test_a_tracker_is_host_and_port(address):
    with pytest.raises(UsageError, match="HOST:PORT"):
        Tracked.parse(address, KEY)
