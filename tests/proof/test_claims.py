"""The proof of no harm: a record that loses against what a user has without it is found, with real kernels."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("tvm", reason="needs the extra [tune]")

from tests.registries import write_rows
from tophub_registry.cli import main
from tophub_registry.devices.device import at_hand, resolve
from tophub_registry.errors import EnvironmentFailure, InputError
from tophub_registry.proof.claims import claims, prove
from tophub_registry.records.record import Config
from tophub_registry.records.task import tensor
from tophub_registry.templates.registry import instantiate

pytestmark = pytest.mark.timed

TOOL = Path(__file__).parents[2] / "tools" / "release.py"
HERE = resolve("llvm")
TEMPLATE = instantiate("dense_pack.x86", [tensor([1, 512]), tensor([1000, 512]), None, "float32"])


def tiled(x: list[int], k: int) -> Config:
    knobs = {"tile_y": [1, 1, 1], "tile_x": x, "tile_k": [512 // k, k], "tile_inner": [1, 1]}
    return TEMPLATE.space.config_of(knobs)


FAST = tiled([10, 2, 50], 256)
DEFAULT = tiled([500, 1, 2], 16)
"""Two outputs at a time, which takes twice as long as FAST on every processor: the default config in these tests."""
SLOW = tiled([1000, 1, 1], 1)
"""One output at a time."""


@pytest.fixture(autouse=True)
def default(monkeypatch: pytest.MonkeyPatch) -> None:
    # AutoTVM's is as fast as FAST on some processors.
    monkeypatch.setattr(type(TEMPLATE), "default", lambda *_: DEFAULT)


def write(path: Path, *configs: Config, cost: float = 1e-4, target: str = str(HERE), **changes: object) -> Path:
    """Write a log whose records claim, each, to be a little better than the one before."""
    rows = [
        {
            "input": [target, TEMPLATE.task, TEMPLATE.args, {}],
            "config": config.model_dump(),
            "result": [[cost * 0.99**number], 0, 1.5, 1.7e9],
            "version": 0.2,
            "tvm_version": "0.27.0",
        }
        | changes
        for number, config in enumerate(configs)
    ]
    path.write_text("# a log\n" + "".join(json.dumps(row) + "\n" for row in rows))
    return path


def run(*arguments: str | Path) -> int:
    with pytest.raises(SystemExit) as ended:
        main(["release", *map(str, arguments)])
    return int(ended.value.code or 0)


def test_what_is_new_is_a_claim_and_what_was_there_is_not(tmp_path: Path) -> None:
    before = write(tmp_path / "before.log", DEFAULT, FAST)
    (claim,) = claims(write(tmp_path / "new.log", DEFAULT, FAST, SLOW), before)
    assert (claim.line, claim.record.config) == (4, SLOW)
    assert claim.before is not None
    assert claim.before.config == FAST
    assert [claim.before for claim in claims(before, None)] == [None, None]


def test_a_record_that_loses_to_the_default_or_to_the_one_it_replaces_is_found(tmp_path: Path) -> None:
    before = write(tmp_path / "before.log", FAST)
    new = write(tmp_path / "new.log", SLOW, DEFAULT, FAST, cost=5e-5)
    (slow, default) = prove(claims(new, before), rounds=21)
    assert (slow.claim.line, default.claim.line) == (2, 3)
    assert slow.reason.endswith("times as fast as AutoTVM's default config")
    assert default.reason.endswith("times as fast as the record it replaces")


def test_a_record_of_another_device_or_without_a_template_is_not_proven(tmp_path: Path) -> None:
    for target in ("llvm -mcpu=skylake-avx512", "llvm", "cuda -model=v100", "opencl -device=mali"):
        with pytest.raises(EnvironmentFailure, match=f"records for {target} can't be timed"):
            list(prove(claims(write(tmp_path / "new.log", FAST, target=target), None)))
    unknown = write(tmp_path / "new.log", FAST, input=[str(HERE), "conv3d_ndhwc.x86", TEMPLATE.args, {}])
    with pytest.raises(InputError, match="no template for conv3d_ndhwc") as caught:
        claims(unknown, None)
    assert (caught.value.file, caught.value.line) == (str(unknown), 2)


def test_a_release_is_refused_where_a_record_loses(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    log = write(tmp_path / "new.log", SLOW)
    assert run("llvm", log, "--registry", tmp_path / "registry", "--prove") == 1
    err = capsys.readouterr().err
    assert f"{log}: 1 new record was timed on {at_hand('llvm').where}\n" in err
    assert f"{log}:2: dense_pack.x86" in err
    assert f"tophub: error: {log}:2: 1 of 1 new records loses: " in err
    assert not (tmp_path / "registry").exists()


def test_a_release_of_another_devices_records_can_t_be_proven_here(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Whether this machine could run their code or not."""
    for processor, reason in (("nehalem", "this machine is llvm"), ("diamondrapids", "this machine (")):
        log = write_rows(tmp_path / f"{processor}.log", 2, target=f"llvm -mcpu={processor}")
        assert run("llvm", log, "--registry", tmp_path / "registry", "--prove") == 3
        assert f"records for llvm -mcpu={processor} can't be timed: {reason}" in capsys.readouterr().err


def test_a_release_of_the_repository_s_data_leaves_out_what_loses(tmp_path: Path) -> None:
    changelog = tmp_path / "CHANGELOG.md"
    changelog.write_text("# Changelog\n\n## 0.1.0\n\n- llvm v0.01: 1 record.\n")
    assert run("llvm", write(tmp_path / "first.log", FAST), "--registry", tmp_path / "registry") == 0
    arguments = [write(tmp_path / "slow.log", SLOW, cost=5e-5), "--prove", "--changelog", changelog]
    command = [sys.executable, TOOL, "llvm", *arguments, "--registry", tmp_path / "registry"]
    done = subprocess.run([*map(str, command)], capture_output=True, text=True, check=True)
    left_out, nothing = done.stdout.splitlines()
    assert left_out.startswith("left out: dense_pack.x86")
    assert nothing == "nothing to do: llvm v0.01 has all of it"
