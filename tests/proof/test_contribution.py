"""A contribution that one machine makes is accepted on another, and what is false in it is refused with its reason."""

from __future__ import annotations

import importlib.util
import json
import os
import signal
import subprocess
import sys
import time
from datetime import datetime, timedelta, timezone
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

pytest.importorskip("tvm", reason="needs the extra [tune]")

from tests.registries import write_rows
from tophub_registry.cli import main
from tophub_registry.devices.device import resolve
from tophub_registry.errors import InputError
from tophub_registry.measurement.measure import Measurer
from tophub_registry.proof.acceptance import accept, check, check_answer, refused
from tophub_registry.proof.contribution import Sample, contribute
from tophub_registry.publishing.bundle import Bundle, WholeModel, open_bundle, records_of, write_bundle
from tophub_registry.publishing.challenge import challenge, read_answer, read_challenge, write
from tophub_registry.publishing.release import release
from tophub_registry.publishing.repository_release import Repository
from tophub_registry.records.finding import Finding
from tophub_registry.records.log import read_records, write_log
from tophub_registry.records.record import Provenance, Record, Result
from tophub_registry.records.task import tensor
from tophub_registry.templates.registry import instantiate

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

pytestmark = pytest.mark.timed

TOOL = Path(__file__).parents[2] / "tools" / "accept.py"
HERE = resolve("llvm")
SHAPES = ((512, 1000), (256, 640), (320, 720))
TEMPLATES = [instantiate("dense_pack.x86", [tensor([1, k]), tensor([n, k]), None, "float32"]) for k, n in SHAPES]


def tiled(template: Any, x: int, k: int) -> Any:
    """Return a config that computes so many outputs at a time, and reads so many inputs for each."""
    (_, depth), (width, _) = (tensor[1] for tensor in template.args[:2])
    knobs = {"tile_y": [1, 1, 1], "tile_x": [width // x, 1, x], "tile_k": [depth // k, k], "tile_inner": [1, 1]}
    return template.space.config_of(knobs)


def slow(template: Any, *_: Any) -> Any:
    """Return the default config of these tests: several times as slow as the records', on every processor."""
    return tiled(template, 1, 1)


class Made(NamedTuple):
    """What the contributor's machine made: a log, its bundle, a maintainer's challenge, and the answer to it."""

    log: Path
    bundle: Path
    challenge: Path
    answer: Path


def run(*arguments: str | Path) -> int:
    with pytest.raises(SystemExit) as ended:
        main([*map(str, arguments)])
    return int(ended.value.code or 0)


def tool() -> Any:
    """Return the tool as a module."""
    spec = importlib.util.spec_from_file_location("accept", TOOL)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def accepted(monkeypatch: pytest.MonkeyPatch, *arguments: str | Path) -> int:
    """Run the tool; return its exit code."""
    monkeypatch.setattr(sys, "argv", ["accept", *map(str, arguments)])
    with pytest.raises(SystemExit) as ended:
        tool().main()
    return int(ended.value.code or 0)


@pytest.fixture(scope="module", autouse=True)
def default() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(type(TEMPLATES[0]), "default", slow)
        patch.setenv("TVM_NUM_THREADS", "1")  # several would wait for each other where other programs run
        yield


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    folder = tmp_path_factory.mktemp("contributor")
    names = ("tuned.log", "tuned.zip", "tuned.challenge.json", "answer.json")
    its = Made(*(folder / name for name in names))
    its.log.write_text("# tuned at night\n")
    with Measurer(HERE) as measurer, its.log.open("a") as log:
        said = measurer.describe().model_copy(update={"tuner": "tests", "trials": 1})
        for template in TEMPLATES:
            config = tiled(template, 16 if template is not TEMPLATES[0] else 50, 16)
            (costs,) = measurer.compare(template, [config], 3)
            row = {
                "input": [str(HERE), template.task, template.args, {}],
                "config": config.model_dump(),
                # A modest claim, which holds even where other programs run.
                "result": [[4 * seconds for seconds in costs], 0, 1.5, time.time()],
                "version": 0.2,
                "tvm_version": "0.27.0",
                "tophub": said.model_dump(exclude_unset=True),
            }
            log.write(json.dumps(row) + "\n")
            log.write(json.dumps(row | {"result": [[1e9], 4, 1.5, time.time()]}) + "\n")  # a trial that failed
    against = write_rows(folder / "llvm_v0.01.log", 2)
    options = ["--against", against, "--rounds", "5", *_a_model(folder)]
    assert run("contribute", its.log, "-o", its.bundle, *options) == 0
    with open_bundle(its.bundle) as bundle:
        write(its.challenge, challenge(bundle, count=2))
    assert run("contribute", "--answer", its.challenge, "-o", its.answer, "--rounds", "5") == 0
    return its


def _a_model(folder: Path) -> list[str]:
    """Return the option for a model with one of the layers, where models can be written."""
    if importlib.util.find_spec("onnx") is None:
        return []
    import onnx

    from tests.frontends.nets import Net

    net = Net((1, 256))
    onnx.save(net.model(net.add("MatMul", "x", net.weight(256, 640))), folder / "model.onnx")
    return ["--model", str(folder / "model.onnx")]


@pytest.fixture
def registry(tmp_path: Path) -> Path:
    """Return another machine's registry, with one version."""
    folder = tmp_path / "registry"
    release("llvm", write_rows(tmp_path / "llvm_v0.01.log", 2), folder)
    return folder


@pytest.fixture
def bundle(made: Made) -> Iterator[Bundle]:
    with open_bundle(made.bundle) as bundle:
        yield bundle


def changed(record: Record, told: dict[str, Any] | None = None, **changes: Any) -> Record:
    """Return a record with another provenance, or other fields."""
    history = record.tophub.model_dump(exclude_unset=True) if record.tophub else {}
    return record.model_copy(update={"tophub": Provenance(**{**history, **(told or {})}), **changes})


def forged(made: Made, path: Path, change: Callable[[Record], Record] = lambda r: r, **environment: Any) -> Path:
    """Write a bundle with changed records and environment, whose hashes are right."""
    with open_bundle(made.bundle) as its:
        log = "".join(f"{change(record).to_json()}\n" for record in records_of(its).values()).encode()
        write_bundle(path, "llvm", "0", log, its.environment.model_copy(update=environment), list(its.pairs))
    return path


def reasons(path: Path, registry: Path) -> list[Finding]:
    with open_bundle(path) as bundle:
        return refused(check(bundle, registry))


def scaled(factor: float) -> Callable[[Record], Record]:
    return lambda record: record.model_copy(
        update={"result": record.result._replace(costs=[factor * seconds for seconds in record.result.costs])}
    )


def test_a_bundle_has_the_best_records_the_machine_and_what_was_measured(bundle: Bundle) -> None:
    records = records_of(bundle)
    assert len(records) == len(bundle.pairs) == len(SHAPES)
    assert bundle.environment.device == next(iter(records.values())).tophub.device
    assert bundle.environment.compiler.startswith("LLVM ")
    for pair in bundle.pairs:
        assert len(pair.costs) == len(pair.default) == 5
        assert 0 <= pair.error < 1e-4
    assert b"at night" not in bundle.path.read_bytes()
    if importlib.util.find_spec("onnx") is not None:
        assert bundle.model.layers == 1
        assert 0 < bundle.model.after < 1


def test_what_gains_nothing_is_said(made: Made, registry: Path, tmp_path: Path) -> None:
    with open_bundle(made.bundle) as its:
        log = its.log.read_bytes()
        pairs = [pair.model_copy(update={"default": pair.costs}) for pair in its.pairs]
        model = WholeModel(name="mine", layers=3, before=1e-3, after=0.999e-3)
        write_bundle(tmp_path / "it.zip", "llvm", "0", log, its.environment, pairs, model)
    with open_bundle(tmp_path / "it.zip") as bundle:
        found = [finding for finding in check(bundle, registry) if finding.rule == "no-gain"]
    assert {finding.severity for finding in found} == {"warning"}
    assert [finding.message for finding in found][-2:] == [
        "its records are 1.00 times as fast as the default configs: they gain nothing",
        "mine is 1.00 times as fast with them: it gains nothing",
    ]


def test_the_same_contents_are_the_same_bytes(made: Made, tmp_path: Path) -> None:
    assert forged(made, tmp_path / "one.zip").read_bytes() == forged(made, tmp_path / "two.zip").read_bytes()


def test_it_is_accepted_on_another_machine(
    made: Made, registry: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Another processor, and nothing is measured there."""
    monkeypatch.setattr("tophub_registry.devices.processor.own_processor", lambda: "skylake")
    monkeypatch.setattr("tophub_registry.devices.processor.described", lambda: "another processor")
    monkeypatch.setattr(Measurer, "__init__", lambda *_: pytest.fail("it is measured"))
    bundle = tmp_path / "received.zip"
    bundle.write_bytes(made.bundle.read_bytes())
    assert accepted(monkeypatch, bundle, "--registry", registry) == 0
    assert accepted(monkeypatch, bundle, "--registry", registry, "--challenge", "--records", "2") == 0
    assert len(read_challenge(Path(f"{bundle}.challenge.json")).drawn) == 2
    options = ("--registry", registry, "--answer", made.answer, "--asked", made.challenge)
    assert accepted(monkeypatch, bundle, *options, "--dry-run") == 0
    assert not (registry / "llvm_v0.02.log").exists()
    assert accepted(monkeypatch, bundle, *options) == 0
    assert capsys.readouterr().out.endswith("llvm v0.02 is released: 2 replayed, 1 claimed\n")
    ranks = [str(record.rank) for record in read_records(registry / "llvm_v0.02.log")]
    assert sorted(ranks) == ["claimed", "claimed", "claimed", "replayed", "replayed"]
    # The same bundle again has nothing that is not published.
    assert accepted(monkeypatch, bundle, *options, "--json") == 1
    said = json.loads(capsys.readouterr().out)
    assert said["refused"]
    assert {finding["rule"] for finding in said["findings"]} == {"copied"}


def test_a_bundle_that_was_changed_is_refused(made: Made, registry: Path, tmp_path: Path) -> None:
    path = tmp_path / "changed.zip"
    path.write_bytes(made.bundle.read_bytes().replace(b'"trials": 1', b'"trials": 9'))
    with pytest.raises(InputError, match=r"Bad CRC|changed after the bundle was written") as caught:
        reasons(path, registry)
    assert caught.value.file.startswith(str(path))
    path.write_bytes(made.bundle.read_bytes()[:-30])
    with pytest.raises(InputError, match="not a bundle, or damaged"):
        reasons(path, registry)


def test_a_falsified_cost_is_refused(made: Made, registry: Path, tmp_path: Path) -> None:
    path = forged(made, tmp_path / "forged.zip", scaled(0.05))
    found = reasons(path, registry)
    assert [finding.line for finding in found if finding.rule == "cost"] == [1, 2, 3]
    assert "claimed, but the fastest of 5 repeats took " in next(each for each in found if each.rule == "cost").message
    assert {finding.file for finding in found} == {f"{path}/records.log"}
    found = reasons(forged(made, tmp_path / "boast.zip", scaled(1e-3)), registry)
    assert any(each.rule == "peak" and "at the device's peak of " in each.message for each in found)


def test_a_falsified_device_is_refused(made: Made, registry: Path, tmp_path: Path, bundle: Bundle) -> None:
    other = "Intel(R) Xeon(R), 2 cores" if "AMD" in bundle.environment.device else "AMD EPYC, 2 cores"
    (found, *_) = reasons(forged(made, tmp_path / "1.zip", lambda its: changed(its, {"device": other})), registry)
    assert (found.rule, found.line) == ("device", 1)
    assert found.message == f"measured on {other}, but the environment is {bundle.environment.device}"
    forger = forged(made, tmp_path / "2.zip", lambda its: changed(its, {"device": other}), device=other)
    assert "one device has 2 makers" in reasons(forger, registry)[0].message
    (found, *_) = reasons(forged(made, tmp_path / "3.zip", threads=64), registry)
    assert found.message == f"measured on {bundle.environment.device}, 1 thread, but the environment has 64 threads"
    (found, *_) = reasons(forged(made, tmp_path / "4.zip", target="llvm -mcpu=cascadelake"), registry)
    assert (found.rule, found.message.split(", but")[1]) == (
        "environment",
        " the environment is llvm -mcpu=cascadelake",
    )


def test_a_copied_log_is_refused(made: Made, registry: Path, tmp_path: Path, bundle: Bundle) -> None:
    release("llvm", bundle.log, registry)
    assert {each.message for each in reasons(made.bundle, registry)} == {
        f"already published: llvm v0.02, line {line} has the same costs" for line in (1, 2, 3)
    }
    thief = forged(made, tmp_path / "1.zip", lambda its: changed(its, {"device": "mine"}), device="mine")
    copied = [each for each in reasons(thief, registry) if each.rule == "copied"]
    assert copied[0].message.endswith(f"the same costs, there measured on {bundle.environment.device}")
    shifted = reasons(forged(made, tmp_path / "2.zip", scaled(1.001)), registry)
    assert [each.message.split(": ")[1] for each in shifted] == 3 * [
        "the same config at the same moment, with other costs"
    ]


def test_repeats_that_were_chosen_or_invented_are_refused(made: Made, registry: Path, tmp_path: Path) -> None:
    for number, change in enumerate(({"costs": [1e-5] * 5}, {"costs": [1e-5]}, {"line": 9})):
        path = tmp_path / f"{number}.zip"
        with open_bundle(made.bundle) as its:
            pairs = [its.pairs[0].model_copy(update=change), *its.pairs[1:]]
            write_bundle(path, "llvm", "0", its.log.read_bytes(), its.environment, pairs)
        assert len(reasons(path, registry)) == 1


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"nonce": "0" * 32}, "the nonce is not the one that was asked"),
        ({"bundle": "0" * 64}, "it answers for another bundle"),
        ({"started": "2020-01-01T00:00:00Z"}, "before the challenge was issued"),
        ({"finished": "2100-01-01T00:00:00Z"}, "stale: the challenge could be answered until"),
        ({"pairs": []}, "it measures other records than those drawn"),
    ],
)
def test_another_answer_is_refused(made: Made, bundle: Bundle, change: dict[str, Any], reason: str) -> None:
    given, asked = read_answer(made.answer), read_challenge(made.challenge)
    (found,) = check_answer(given.model_copy(update=change).signed(), asked, bundle, made.answer)
    assert reason in found.message
    assert found.file == str(made.answer)
    (found,) = check_answer(given.model_copy(update=change), asked, bundle, made.answer)[:1]
    assert "forged or damaged" in found.message


def test_an_answer_that_comes_too_late_is_refused(made: Made, bundle: Bundle) -> None:
    given, asked = read_answer(made.answer), read_challenge(made.challenge)
    assert check_answer(given, asked, bundle, made.answer) == []
    late = datetime.now(timezone.utc) + timedelta(days=15)
    (found,) = check_answer(given, asked, bundle, made.answer, time=late)
    assert found.message.startswith("stale: ")


def test_a_challenge_with_records_of_ones_own_choice_is_refused(made: Made, bundle: Bundle) -> None:
    given, asked = read_answer(made.answer), read_challenge(made.challenge)
    other = next(line for line in (1, 2, 3) if line not in {each.line for each in asked.drawn})
    drawn = [each.model_copy(update={"line": other}) for each in asked.drawn[:1]]
    (found,) = check_answer(given, asked.model_copy(update={"drawn": drawn}), bundle, made.answer)
    assert found.message == "the challenge was changed: its nonce draws other records"


def test_an_answer_that_disagrees_or_is_made_up_is_refused(made: Made, bundle: Bundle) -> None:
    given, asked = read_answer(made.answer), read_challenge(made.challenge)

    def said(*pairs: Any, **environment: Any) -> str:
        theirs = given.environment.model_copy(update=environment)
        forged = given.model_copy(update={"pairs": list(pairs) or given.pairs, "environment": theirs}).signed()
        return check_answer(forged, asked, bundle, made.answer)[0].message

    first, second = given.pairs
    slower = first.model_copy(update={"costs": [1000 * seconds for seconds in first.costs]})
    assert f"line {first.line}: " in said(slower, second)
    assert "claimed, but the fastest of 5 repeats took" in said(slower, second)
    theirs = next(pair for pair in bundle.pairs if pair.line == first.line)
    assert said(theirs, second) == f"the repeats of line {first.line} are copied from the bundle"
    assert "measured on another machine: machine 0123" in said(machine="0123")


def ranks(log: Path) -> list[str]:
    return sorted(str(its.rank) for its in read_records(log))


def test_what_a_second_machine_reproduces_has_the_highest_rank(made: Made, registry: Path, tmp_path: Path) -> None:
    def contributed(factor: float, machine: str) -> None:
        """Accept a bundle with the same configs, measured at another time on a machine of the same kind."""

        def later(its: Record) -> Record:
            return its.model_copy(update={"result": Result([factor * s for s in its.result.costs], 0, 1, time.time())})

        path = forged(made, tmp_path / f"{factor}.zip", later, machine=machine)
        with open_bundle(path) as bundle:
            asked = challenge(bundle, count=3)
            pairs = [its.model_copy(update={"costs": [factor * s for s in its.costs]}) for its in bundle.pairs]
            echoed = {"bundle": asked.bundle, "nonce": asked.nonce, "started": asked.issued, "finished": asked.issued}
            measured = {"environment": bundle.environment, "pairs": sorted(pairs, key=lambda pair: pair.line)}
            given = read_answer(made.answer).model_copy(update=echoed | measured).signed()
            assert refused([*check(bundle, registry), *check_answer(given, asked, bundle, path)]) == []
            accept(bundle, given, Repository(registry, None))

    contributed(1.002, "a" * 12)
    assert ranks(registry / "llvm_v0.02.log") == ["claimed"] * 2 + ["replayed"] * 3
    contributed(1.05, "a" * 12)
    assert not (registry / "llvm_v0.03.log").exists()  # the machine is no second one, and the published cost is lower
    contributed(1.004, "b" * 12)
    assert ranks(registry / "llvm_v0.03.log") == ["claimed"] * 2 + ["reproduced"] * 3
    machines = {its.tophub.machine for its in read_records(registry / "llvm_v0.03.log") if its.tophub}
    assert machines == {"b" * 12}
    contributed(2.0, "c" * 12)
    assert not (registry / "llvm_v0.04.log").exists()  # its costs are too different to confirm the others


def test_a_record_does_not_replace_one_that_it_was_not_timed_against(
    made: Made, bundle: Bundle, registry: Path, tmp_path: Path
) -> None:
    """The costs alone would let it."""
    (line, record), *_ = records_of(bundle).items()
    template = next(each for each in TEMPLATES if each.args == record.input.args)
    published = record.model_copy(update={"config": slow(template), "result": Result([1.0], 0, 1.5, 1.7e9)})
    write_log(tmp_path / "newer.log", [published])
    release("llvm", tmp_path / "newer.log", registry)
    done = accept(bundle, read_answer(made.answer), Repository(registry, None))
    assert list(done.left_out) == [line]
    assert "it was timed against another record" in done.left_out[line]
    kept = {its.workload: its for its in read_records(registry / "llvm_v0.03.log")}
    assert kept[record.workload].config.entity == slow(template).entity


def test_a_sample_is_drawn_and_time_runs_out(made: Made, registry: Path, tmp_path: Path) -> None:
    options = ["--against", registry / "llvm_v0.01.log", "--rounds", "3", "--records", "1"]
    assert run("contribute", made.log, "-o", tmp_path / "some.zip", *options) == 0
    with open_bundle(tmp_path / "some.zip") as bundle:
        assert (len(bundle.pairs), len(records_of(bundle))) == (1, 3)
        assert refused(check(bundle, registry)) == []
    assert [Sample(seconds=0.0).over(done) for done in (0, 1)] == [False, True]
    assert not Sample().over(1)


def test_what_does_not_hold_is_left_out_and_what_is_another_machines_is_not_contributed(
    made: Made, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first, *others = [record for record in read_records(made.log) if record.valid]
    write_log(tmp_path / "boast.log", [scaled(0.05)(first), *others])
    done = contribute(tmp_path / "boast.log", sample=Sample(rounds=3))
    assert [each.record.config for each in done.left_out] == [first.config]
    assert "claimed, but the fastest of 3 repeats took" in done.left_out[0].reason
    write_log(tmp_path / "other.log", [changed(first, {"device": "another"})])
    assert run("contribute", tmp_path / "other.log", "-o", tmp_path / "other.zip") == 3
    assert "a record was measured on another, " in capsys.readouterr().err
    write_log(tmp_path / "unnamed.log", [first.model_copy(update={"tophub": None})])
    assert run("contribute", tmp_path / "unnamed.log", "-o", tmp_path / "other.zip", "--json") == 1
    assert "does not say on which device" in json.loads(capsys.readouterr().out)["error"]["message"]
    assert not (tmp_path / "other.zip").exists()


def test_an_existing_file_is_found_before_anything_is_measured(made: Made, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("contribute", made.log, "-o", made.bundle) == 2
    assert run("contribute", "--answer", made.challenge, "-o", made.answer) == 2
    assert run("contribute") == 2
    assert run("contribute", made.log, "--answer", made.challenge) == 2
    assert capsys.readouterr().err.count(": the file already exists (send it to the maintainer, or name another ") == 2


def test_a_file_in_anothers_place_is_named_with_what_to_do_with_it(
    made: Made, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    said = {
        made.log: "this is a log, and not {} (`tophub contribute tuned.log` makes a bundle of it)",
        made.bundle: "this is a contribution's bundle, and not {} (send it to the maintainer, whose challenge `--an",
        made.challenge: "this is a maintainer's challenge, and not {} (`tophub contribute --answer tuned.challenge.",
        made.answer: "this is the answer to a challenge, and not {} (send it to the maintainer)",
    }
    takes = {
        made.log: ("a log", run, ("contribute",)),
        made.bundle: ("a contribution's bundle", partial(accepted, monkeypatch), ()),
        made.challenge: ("a maintainer's challenge", run, ("contribute", "--answer")),
    }
    for file, message in said.items():
        for other, (what, command, words) in takes.items():
            if other != file:
                assert command(*words, file) == 1
                assert f"{file}: {message.format(what)}" in capsys.readouterr().err
    assert run("contribute", "--answer", made.log.parent) == 3
    assert "can't be read: Is a directory" in capsys.readouterr().err


def test_ctrl_c_leaves_nothing(made: Made, registry: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    command = [sys.executable, "-m", "tophub_registry.cli", "contribute", made.log, "-o", tmp_path / "out" / "b.zip"]
    options = ["--against", registry / "llvm_v0.01.log", "--rounds", "1000000"]
    env = {**os.environ, "TMPDIR": str(tmp_path / "out")}
    with subprocess.Popen([*command, *options], env=env, stderr=subprocess.PIPE, text=True) as process:
        while not list((tmp_path / "out").glob("tophub-*/*.so")):
            assert process.poll() is None
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=60)
    assert (process.returncode, said) == (130, "tophub: interrupted\n")
    assert list((tmp_path / "out").iterdir()) == []
