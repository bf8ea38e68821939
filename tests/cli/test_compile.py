"""`tophub compile`: a library, and a table that says which layer got which record."""

from __future__ import annotations

import itertools
import json
import re
import subprocess
import sys
from pathlib import Path

import onnx
import pytest

from tests.frontends.nets import Net
from tophub_registry import spelling
from tophub_registry.cli import main
from tophub_registry.compiler.compiler import compile_model
from tophub_registry.devices.device import at_hand, resolve
from tophub_registry.devices.processor import described
from tophub_registry.devices.threads import thread_count
from tophub_registry.frontends import read_model
from tophub_registry.records.log import read_records, write_log
from tophub_registry.records.record import Provenance, Record
from tophub_registry.records.task import tensor
from tophub_registry.templates.registry import instantiate

MODEL = "cifar_resnet20_v1"
DATA = Path(__file__).parents[2] / "registry_data"


def run(*arguments: str | Path) -> int:
    with pytest.raises(SystemExit) as ended:
        main(["compile", *map(str, arguments)])
    return int(ended.value.code or 0)


@pytest.mark.slow
def test_the_library_and_the_layers(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TVM_NUM_THREADS", "2")
    library = tmp_path / "model.so"
    assert run(MODEL, "-o", library, "--json", "--threads", "1") == 0
    told = json.loads(capsys.readouterr().out)
    assert told["threads"] == 1
    assert library.stat().st_size > 1 << 20
    assert len(told["layers"]) == 22
    assert all(layer["recorded"] or layer["evidence"]["target"].startswith("llvm") for layer in told["layers"])
    assert run(MODEL, "-o", library) == 2
    assert "--force" in capsys.readouterr().err


@pytest.mark.slow
def test_compiling_needs_nothing_that_only_tuning_needs(tmp_path: Path) -> None:
    """The extra [compile] does not bring pebble; only --verify, which times kernels, needs more."""
    code = "import sys; sys.modules['pebble'] = None\n"
    code += "from tophub_registry.cli import main; main()"
    command = [sys.executable, "-c", code, "compile", MODEL, "-o", str(tmp_path / "model.so")]
    done = subprocess.run([*command, "--profile"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "model.so").stat().st_size > 1 << 20
    done = subprocess.run([*command, "--force", "--verify"], capture_output=True, text=True, check=False)
    assert done.returncode == 3
    assert "`tophub compile` needs the extra [tune]: 'pebble' is not installed" in done.stderr


def tiled(record: Record) -> Record:
    """A direct convolution's record as one of the template that is preferred to it, with its default config."""
    task, args = "conv2d_NCHWc_tiled.x86", record.input.args
    if record.input.task != "conv2d_NCHWc.x86" or args[1][1][2:] == [1, 1]:
        return record
    config = instantiate(task, args).default(record.target)
    return record.model_copy(update={"config": config, "input": record.input._replace(task=task)})


@pytest.mark.slow
def test_strict_fails_where_a_layer_has_no_record_and_else_it_gets_the_default(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The log has one convolution's record. Its config is none for those of other sizes."""
    package = DATA / "llvm_v0.06.log"
    log = tmp_path / "one.log"
    shapes = "[1,16,32,32]", "[32,16,3,3]"
    found = [its for its in read_records(package) if all(shape in its.workload for shape in shapes)]
    here = str(resolve("llvm"))
    write_log(log, [tiled(its.model_copy(update={"input": its.input._replace(target=here)})) for its in found])
    library = tmp_path / "model.so"
    arguments = (MODEL, "-o", library, "--log", log)
    assert run(*arguments, "--strict") == 1
    assert "21 of 22 layers have no record tuned for " in capsys.readouterr().err
    assert not library.exists()
    assert run(*arguments, "--profile") == 0
    told = capsys.readouterr().out
    assert re.search(r"^\S*model.so: 1 of 22 layers use tuned records; for ", told, re.MULTILINE)
    assert sum("none: the default config" in line for line in told.splitlines()) == 21
    assert re.search(r"^kernel +calls +all calls +share +arguments", told, re.MULTILINE)
    assert re.search(r"^fused_conv2d_NCHWc\S* +\d+ +\S+ [mµ]s +[0-9.]+% +1x\S+ ", told, re.MULTILINE)


def test_a_precision_that_the_target_does_not_have_is_refused_with_the_reason(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    library = tmp_path / "model.so"
    assert run(MODEL, "-o", library, "--precision", "tf32") == 2
    assert "a target of kind llvm has no tf32: it needs a GPU's tensor cores" in capsys.readouterr().err
    assert run(MODEL, "-o", library, "--precision", "bfloat8") == 2
    assert "choose one of float32, 3xtf32, tf32, float16" in capsys.readouterr().err
    assert not library.exists()


@pytest.mark.slow
@pytest.mark.parametrize(("processor", "used"), [("znver3", 1), ("icelake-server", 1)])
def test_records_of_another_processor_are_told_and_are_none_for_strict(
    processor: str, used: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Whether it is of the same family, as Icelake and Zen 4 are, or not."""
    library, target = tmp_path / "model.so", f"llvm -mcpu={processor}"
    log = DATA / "llvm_v0.08.log"
    assert run(MODEL, "-o", library, "--target", target, "--log", log, "--strict") == 1
    assert f"22 of 22 layers have no record tuned for {target}" in capsys.readouterr().err
    assert not library.exists()
    assert run(MODEL, "-o", library, "--target", target, "--log", log) == 0
    told = capsys.readouterr().out
    assert f"{used} of 22 layers use tuned records; for {target}" in told
    measured = "AMD EPYC, 2 cores, 2 threads (znver4): cifarresnetv10_conv0_fwd, "
    assert f"22 layers have only records of other processors, measured on {measured}" in told
    assert f"\n{used} of these is used, as it is expected to beat the default config here; the other layers get" in told
    assert "The costs were measured" not in told
    assert f"  tophub tune {MODEL} --target '{target}' --total-trials 500 -o new.log\n" in told


@pytest.mark.slow
def test_times_of_another_machine_are_called_that_and_the_model_is_timed_here(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The log's records are for this very target, but were measured on a device of another name."""
    here = str(resolve("llvm"))
    log, there = tmp_path / "there.log", "A faster one, 64 cores"
    found = list(map(tiled, read_records(DATA / "llvm_v0.08.log")))
    moved = {
        "input": lambda its: its.input._replace(target=here),
        "tophub": lambda _: Provenance(device=there, threads=64),
    }
    write_log(log, [its.model_copy(update={name: made(its) for name, made in moved.items()}) for its in found])
    library = tmp_path / "model.so"
    arguments = MODEL, "-o", library, "--log", log, "--strict", "--force"
    assert run(*arguments) == 0
    told = capsys.readouterr().out
    threads = thread_count()
    this = f"{described()}, {threads} thread{'s' if threads > 1 else ''}"
    assert "22 of 22 layers use tuned records; for " in told
    assert f"The costs were measured on {there}, 64 threads; this machine is {this}.\n" in told
    assert re.search(rf"^A run takes \S+ [mµ]?s on this machine with {threads} threads?, at best ", told, re.MULTILINE)
    total = spelling.seconds(sum(record.mean_cost for record in compile_model(MODEL, records=[log]).records))
    assert f" the layers' 22 records add up to {total}, 22 of them measured with weights in the cache." in told
    assert f"from then on:\n  tophub compile {MODEL} --target '{here}' -o {library} --force --tune 3m\n" in told
    assert f"To tune the model here, into a log of your own:\n  tophub tune {MODEL} --target '{here}' " in told
    measured_here = tmp_path / "here.log"
    write_log(measured_here, [its.model_copy(update={"tophub": at_hand("llvm")}) for its in read_records(log)])
    assert run(MODEL, "-o", library, "--log", measured_here, "--force") == 0
    told = capsys.readouterr().out
    assert f"The costs were measured on {this}.\n" in told
    assert "To tune the model" not in told


@pytest.mark.slow
def test_the_library_runs_without_this_package_as_the_output_and_the_documentation_say(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(MODEL, "-o", tmp_path / "model.so") == 0
    told = capsys.readouterr()
    assert told.err == "tophub: note: the weights are random, as no --params was given\n"
    printed = told.out.partition(" alone (the weights are inside; TVM_NUM_THREADS sets the threads")[2].splitlines()[1:]
    snippet = "\n".join(line.strip() for line in itertools.takewhile(lambda line: line.startswith("  "), printed))
    page = (DATA.parent / "docs" / "models.md").read_text(encoding="utf-8").partition("## Running the library")[2]
    example = page.partition("```python\n")[2].partition("```")[0].replace("(1, 3, 224, 224)", "(1, 3, 32, 32)")
    for lines in (f"{snippet}\nprint(output.numpy().shape)", f"{example}\nprint(scores.shape)"):
        command = [sys.executable, "-I", "-c", f"import sys; sys.modules['tophub_registry'] = None\n{lines}"]
        done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)
        assert (done.returncode, done.stdout) == (0, "(1, 10)\n"), done.stderr


@pytest.mark.parametrize("log", ["empty", "cuda", "others"])
def test_a_log_that_has_nothing_for_the_model_is_an_error(
    log: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """It is empty, for another target, or of layers that are not alike."""
    records = {
        "empty": [],
        "cuda": read_records(DATA / "cuda_v0.11.log"),
        "others": (its for its in read_records(DATA / "llvm_v0.08.log") if its.input.task.startswith("group_conv2d")),
    }
    write_log(tmp_path / "own.log", records[log])
    net = Net((1, 8, 12, 12))
    onnx.save(net.model(net.add("Conv", "x", net.weight(16, 8, 3, 3))), tmp_path / "model.onnx")
    library = tmp_path / "model.so"
    assert (
        run(tmp_path / "model.onnx", "-o", library, "--log", tmp_path / "own.log", "--target", "llvm -mcpu=znver4") == 1
    )
    told = capsys.readouterr()
    assert told.err == (
        f"tophub: error: {tmp_path / 'own.log'}: no record for any layer of this model on llvm -mcpu=znver4 "
        "(`tophub show` says what a log holds)\n"
    )
    assert not library.exists()


@pytest.mark.slow
def test_without_any_record_the_way_to_tune_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TOPHUB_LOCATION", "NONE")
    monkeypatch.setenv("HOME", str(tmp_path))
    library = tmp_path / "my model.so"
    assert run(MODEL, "-o", library, "--shape", "data=1,3,48,48") == 0
    told = capsys.readouterr()
    assert "no package has a record for a layer of this model" in told.err
    target = f"--target '{resolve('llvm')}'"
    commands = [line.strip() for line in told.out.splitlines() if line.startswith("  tophub ")]
    assert commands == [
        f"tophub tune {MODEL} --shape data=1,3,48,48 {target} --total-trials 500 -o new.log",
        f"tophub compile {MODEL} --shape data=1,3,48,48 {target} --log new.log -o '{library}' --force",
        f"tophub compile {MODEL} --shape data=1,3,48,48 {target} -o '{library}' --force --tune 3m",
    ]
    assert told.out.splitlines()[-1].strip() == commands[-1]
    assert "22 of 22 layers have no record of such hardware; tuning them is expected to save about 2 % of a run.\n" in (
        told.out
    )


def test_a_folder_is_no_library(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(MODEL, "-o", tmp_path) == 2
    assert "this is a folder" in capsys.readouterr().err


@pytest.mark.slow
def test_weights_that_are_given_are_not_called_random(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    weights = tmp_path / "cifar.params"
    read_model(MODEL).original.save(tmp_path / "cifar-symbol.json", weights)
    assert run(MODEL, "-o", tmp_path / "model.so", "--params", weights, "--json") == 0
    told = capsys.readouterr()
    assert (told.err, json.loads(told.out)["random_weights"]) == ("", False)


@pytest.mark.slow
def test_a_winograd_that_is_expected_to_beat_a_record_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The log has the direct convolution of the first stage's six layers; --strict accepts that it is not used."""
    here, args = resolve("llvm"), [tensor([1, 16, 160, 160]), tensor([16, 16, 3, 3])]
    template = instantiate("conv2d_NCHWc.x86", [*args, [1, 1], [1, 1, 1, 1], [1, 1], "NCHW", "NCHW", "float32"])
    (like, *_) = read_records(DATA / "llvm_v0.08.log")
    record = like.model_copy(
        update={
            "input": like.input._replace(target=str(here), task=template.task, args=template.args),
            "config": template.default(here),
        }
    )
    log, library = tmp_path / "direct.log", tmp_path / "model.so"
    write_log(log, [record])
    assert run(MODEL, "-o", library, "--log", log, "--shape", "data=1,3,160,160") == 0
    told = capsys.readouterr().out
    assert told.count(f"none: the default config, expected to beat {log}") == 6
    assert "\n6 layers have records of another template only, which the default config shown is expected to" in told
    assert run(MODEL, "-o", library, "--log", log, "--shape", "data=1,3,160,160", "--strict", "--force") == 1
    assert "16 of 22 layers have no record tuned for" in capsys.readouterr().err
