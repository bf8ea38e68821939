"""A record that can't be built is left out and told in one line; what no record is to blame for is one error."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import pytest

if not all(map(importlib.util.find_spec, ("mxnet", "gluoncv", "tvm"))):
    pytest.skip("MXNet, gluoncv and TVM are not all installed", allow_module_level=True)

from tests.compiler.agreement import assert_close, noise
from tophub_registry.cli import main
from tophub_registry.compiler.compiler import compile_model
from tophub_registry.errors import EnvironmentFailure
from tophub_registry.frontends import read_model
from tophub_registry.templates.conv2d_nchwc_tiled_x86 import Conv2dNCHWcTiledX86
from tophub_registry.templates.registry import instantiate

TARGET = "llvm -mcpu=x86-64-v3"
TASK = "conv2d_NCHWc_tiled.x86"
ARGS = [
    ["TENSOR", [1, 16, 32, 32], "float32"],
    ["TENSOR", [16, 16, 3, 3], "float32"],
    *([1, 1], [1, 1, 1, 1], [1, 1], "NCHW", "NCHW", "float32"),
]
GOOD = {"tile_ic": [2, 8], "tile_oc": [1, 2, 8], "tile_p": 8, "tile_oh": 4}
SLOWER = {"tile_ic": [1, 16], "tile_oc": [1, 1, 16], "tile_p": 4, "tile_oh": 2}


@pytest.fixture(scope="module")
def cifar():
    return read_model("cifar_resnet20_v1")


def entity_of(values):
    config = instantiate(TASK, ARGS).space.config_of(values)
    return [[knob.name, knob.kind, knob.value] for knob in config.entity]


def write(path: Path, *entities, target=TARGET, task=TASK, args=ARGS) -> Path:
    rows = [
        {
            "input": [target, task, args, {}],
            "config": {"index": 0, "code_hash": None, "entity": entity},
            "result": [[1e-4 * (1 + place)], 0, 0.1, 1.7e9],
            "version": 0.2,
            "tvm_version": "0.27.0",
        }
        for place, entity in enumerate(entities)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def assert_right(compiled):
    inputs = noise(compiled.model)
    assert_close(compiled.run(*inputs), compiled.model.reference(*inputs))


@pytest.mark.slow
def test_a_config_that_the_template_does_not_have(cifar, tmp_path):
    wrong = [["tile_ic", "sp", [-1, 5]], *entity_of(GOOD)[1:]]
    compiled = compile_model(cifar, TARGET, records=[write(tmp_path / "new.log", wrong, entity_of(GOOD))])
    told = {str(each) for each in compiled.left_out}
    assert len(told) == 6  # of six layers with the same workload, each by its name
    assert all(TASK in line and "new.log" in line and "not an option of the knob tile_ic" in line for line in told), (
        told
    )
    assert sum(layer.recorded for layer in compiled.layers) == 6  # by the other record
    assert_right(compiled)


def test_a_config_that_no_device_takes(cifar, tmp_path):
    args = [*ARGS[:5], "float32"]
    space = instantiate("conv2d_nchw.cuda", args).space
    values = {
        **{name: [1, 1, size, 1] for name, size in (("tile_f", 16), ("tile_y", 32), ("tile_x", 32))},
        "tile_rc": [16, 1],
        "tile_ry": [3, 1],
        "tile_rx": [3, 1],
        "auto_unroll_max_step": 0,
        "unroll_explicit": 0,
    }
    entity = [[knob.name, knob.kind, knob.value] for knob in space.config_of(values).entity]
    target = "cuda -model=h100 -arch=sm_90"
    log = write(tmp_path / "new.log", entity, target=target, task="conv2d_nchw.cuda", args=args)
    compiled = compile_model(cifar, target, records=[log])
    assert {each.reason for each in compiled.left_out} == {"it needs more threads or shared memory than any device has"}
    assert not any(layer.recorded for layer in compiled.layers)


@pytest.fixture
def _breaks(monkeypatch):
    """Let the schedule of one config fail as TVM's do, on pages."""
    plain = Conv2dNCHWcTiledX86.apply

    def broken(self, sch, config):
        if self.args == ARGS and config.value("tile_p") == GOOD["tile_p"]:
            raise ValueError("ScheduleError: a page\n of IR\nError message: the loops are not perfectly nested")
        plain(self, sch, config)

    monkeypatch.setattr(Conv2dNCHWcTiledX86, "apply", broken)


@pytest.mark.slow
@pytest.mark.usefixtures("_breaks")
def test_a_record_that_tvm_fails_to_build(cifar, tmp_path):
    log = write(tmp_path / "new.log", entity_of(GOOD), entity_of(SLOWER))
    compiled = compile_model(cifar, "llvm -mcpu=x86-64-v3", records=[log])
    (record,) = compiled.left_out
    assert len(record.layers) == 6
    assert f"{record.layers[0]}, " in str(record)
    assert "can't be built: the loops are not perfectly nested; the full output is in /" in str(record)
    assert "\n" not in str(record)
    kept = Path(str(record).rpartition("the full output is in ")[2])
    assert " of IR\n" in kept.read_text()
    kept.unlink()
    assert sum(layer.recorded for layer in compiled.layers) == 6
    assert_right(compiled)


@pytest.mark.slow
@pytest.mark.usefixtures("_breaks")
def test_the_command_tells_it(tmp_path, capsys):
    log = write(tmp_path / "new.log", entity_of(GOOD), entity_of(SLOWER))
    command = ["compile", "cifar_resnet20_v1", "-o", tmp_path / "m.so", "-l", log, "--target", TARGET]
    with pytest.raises(SystemExit) as ended:
        main([*map(str, command), "--json"])
    assert not ended.value.code
    told = capsys.readouterr()
    (line,) = (line for line in told.err.splitlines() if "left out" in line)
    assert "can't be built" in line
    (left_out,) = json.loads(told.out)["left_out"]
    assert (left_out["task"], left_out["args"], left_out["source"]) == (TASK, ARGS, str(log))


def test_what_no_record_is_to_blame_for_is_one_error_that_names_the_layer(cifar, monkeypatch):
    def broken(*_):
        raise ValueError("ScheduleError: a page\nError message: there is no loop")

    monkeypatch.setattr(Conv2dNCHWcTiledX86, "apply", broken)
    with pytest.raises(
        EnvironmentFailure, match=r"the layer cifarresnetv10_\S+ can't be compiled: there is no loop"
    ) as caught:
        compile_model(cifar, TARGET, records=[])
    assert "\n" not in str(caught.value)
