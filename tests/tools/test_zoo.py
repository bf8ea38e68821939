"""`tools/zoo.py`: the zoo's models, a few of them for real, and what becomes of those that fail or take too much."""

import json
import os
import random
import re
import signal
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from tools.model_zoo.agreement import compare, disturbed
from tools.model_zoo.families import family, in_order, one_of_each
from tools.model_zoo.page import page
from tophub_registry.frontends.mxnet.names import NAMES

ROOT = Path(__file__).parents[2]
TOOL = ROOT / "tools" / "zoo.py"
STANDS_IN = ("--worker", "tests.tools.zoo_worker", "--timeout", "3", "--memory", "0.25")

SMALL = (
    "cifar_resnet20_v1",
    "cifar_resnet20_v2",
    "mobile_pose_resnet18_v1b",
    "mobilenet0.25",
    "mobilenet0.5",
    "mobilenet0.75",
    "mobilenetv2_0.25",
    "mobilenetv2_0.5",
    "resnet18_v1",
    "resnet18_v1b",
    "resnet18_v1b_0.89",
    "resnet18_v2",
    "se_resnet18_v1",
    "simple_pose_resnet18_v1b",
    "squeezenet1.0",
    "squeezenet1.1",
    "ssd_300_mobilenet0.25_coco",
    "ssd_300_mobilenet0.25_voc",
    "yolo3_mobilenet0.25_voc",
)
"""Models that compile in a few seconds."""


def run(*arguments, **environment):
    return subprocess.run(
        [sys.executable, TOOL, *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
    )


def only(*names):
    return [word for name in names for word in ("--only", name)]


def rows_of(path):
    return {row["model"]: row for row in map(json.loads, path.read_text().splitlines())}


@pytest.mark.slow
@pytest.mark.skipif(not all(map(find_spec, ("mxnet", "gluoncv", "tvm"))), reason="needs MXNet, gluoncv and TVM")
def test_two_small_models_other_ones_after_each_commit_compile_and_agree(tmp_path):
    done = run("--sample", 2, *only(*SMALL), "-o", tmp_path / "zoo.jsonl")
    assert done.returncode == 0, done.stdout + done.stderr
    rows = rows_of(tmp_path / "zoo.jsonl")
    assert len(rows) == 2
    assert [name for name, row in rows.items() if not row["agrees"]] == []


@pytest.mark.slow
@pytest.mark.skipif(not all(map(find_spec, ("mxnet", "gluoncv", "tvm"))), reason="needs MXNet, gluoncv and TVM")
def test_reasons_that_are_not_ours_are_no_failure(tmp_path):
    done = run(*only("custom_mask_rcnn_fpn", "resnet50_v1_int8"), "-o", tmp_path / "zoo.jsonl")
    assert done.returncode == 0, done.stdout + done.stderr
    rows = rows_of(tmp_path / "zoo.jsonl")
    assert {name: row["whose"] for name, row in rows.items()} == {
        "custom_mask_rcnn_fpn": "gluoncv",
        "resnet50_v1_int8": "int8",
    }


@pytest.fixture(scope="module")
def tried(tmp_path_factory):
    """What became of models of which most fail: the file, the page, and the tool."""
    folder = tmp_path_factory.mktemp("zoo")
    file, written = folder / "zoo.jsonl", folder / "zoo.md"
    names = only("alexnet", "vgg11", "vgg13", "vgg16", "vgg19", "vgg13_bn")
    done = run(*names, *STANDS_IN, "--jobs", 3, "-o", file, "--resume", "--page", written)
    return file, written, done


@pytest.mark.slow
def test_a_model_that_fails_or_reaches_a_limit_says_why_and_the_others_go_on(tried):
    file, _, done = tried
    rows = rows_of(file)
    assert {name: (row.get("whose"), row.get("why")) for name, row in rows.items()} == {
        "vgg11": (None, None),
        "alexnet": ("ours", "ended with exit code 1: no such thing (extract)"),
        "vgg13": ("limit", "more than 3 s (extract)"),
        "vgg16": ("limit", "more than 0.25 GiB of memory (extract)"),
        "vgg19": ("ours", "ended by SIGSEGV (extract)"),
        "vgg13_bn": ("ours", "can't translate topk"),
    }
    assert rows["vgg13"]["untuned"] == {"convolution": 1}  # what was known before is kept
    assert rows["vgg13"]["seconds"] < 20
    assert done.returncode == 1
    assert len(done.stdout.splitlines()) == 6
    assert "/6 vgg11: 2e-06 (" in done.stdout


def test_the_page_counts_and_names_reasons(tried):
    _, written, _ = tried
    text = written.read_text(encoding="utf-8")
    joined = text.replace("\n", " ")
    assert "6 of the 332 models in gluoncv's model zoo (the others were not tried yet)" in joined
    assert "on A processor, for `llvm -mcpu=znver4`" in joined
    for line in (
        "| 332 | in the zoo |  |",
        "| 1 | compile and agree with MXNet |  |",
        "| 3 | do not | the reason is ours |",
        "| 2 | do not | the reason is a limit of time or memory |",
        "| vgg | 8 | 5 | 1 | 1 | 2e-06 | 1 |",
        "| the operator `topk` | ours | 1 | `vgg13_bn` |",
        "| `vgg11` | yes | 2e-06 | 1 of 3: convolution |  |",
    ):
        assert line in text.splitlines()


def test_the_page_of_another_target_says_that_nothing_was_run():
    row = {"model": "alexnet", "target": "cuda", "processor": "cuda -model=h100", "device": None, "layers": 8}
    rows = [{**row, "compiled": True, "untuned": {}, "commit": "a1", "date": "2026-01-01"}]
    text = page(rows, NAMES)
    joined = text.replace("\n", " ")
    assert "compiled with the newest records, and not run, as there was no such device," in joined
    assert "at commit a1, for `cuda -model=h100`." in joined
    assert "| alexnet | 1 | 1 | 1 |  |  | 0 |" in text.splitlines()
    assert "agree with MXNet |" not in text
    assert "All 1 models" in page(rows, ["alexnet"])


def test_what_was_tried_is_left_out_and_what_was_our_fault_tried_again(tried, tmp_path):
    file, *_ = tried
    copy = tmp_path / "zoo.jsonl"
    copy.write_text(file.read_text() + '{"model": "vgg19_bn", "tar')  # cut off
    again = run(*only("alexnet", "vgg11", "vgg19_bn"), *STANDS_IN, "-o", copy, "--resume")
    assert [line.split()[1] for line in again.stdout.splitlines()] == ["vgg19_bn:"]
    assert copy.read_text().splitlines()[:6] == file.read_text().splitlines()
    again = run(*only("alexnet", "vgg11"), *STANDS_IN, "-o", copy, "--resume", "--again")
    assert [line.split()[1] for line in again.stdout.splitlines()] == ["alexnet:"]


def test_interrupted_it_ends_the_processes_and_keeps_what_is_done(tmp_path):
    file, started = tmp_path / "zoo.jsonl", tmp_path / "started"
    command = [sys.executable, TOOL, *only("vgg11", "vgg13"), "--worker", "tests.tools.zoo_worker", "-o", file]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "ZOO_STARTED": str(started)}
    tool = subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True, env=environment)
    while not (started.exists() and started.read_text()):
        assert tool.poll() is None
        time.sleep(0.05)
    tool.send_signal(signal.SIGINT)
    _, said = tool.communicate(timeout=30)
    assert (tool.returncode, said) == (130, "zoo: interrupted; --resume goes on\n")
    assert [*rows_of(file)] == ["vgg11"]
    with pytest.raises(ProcessLookupError):
        os.kill(int(started.read_text()), 0)


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["-o", "FILE"], 2, "the file already exists (--resume goes on)"),
        (["-o", "FILE", "--resume", "--target", "cuda"], 1, "FILE:1: this is about llvm (--target 'llvm', or"),
        (["-o", "OTHER", "--resume"], 1, "OTHER:1: not a line of this tool"),
        (["--resume"], 2, "--resume and --page need the file of -o"),
        (["--only", "nothing"], 2, "no model is called 'nothing'"),
        (["--only", "alexnet", "--target", "opencl"], 2, "no package for opencl"),
    ],
)
def test_what_is_asked_wrongly(arguments, code, said, tmp_path):
    places = {"FILE": tmp_path / "zoo.jsonl", "OTHER": tmp_path / "other"}
    places["FILE"].write_text('{"model": "alexnet", "target": "llvm"}\n')
    places["OTHER"].write_text("{}\nmore\n")
    done = run(*(places.get(word, word) for word in arguments))
    assert done.returncode == code
    for word, place in places.items():
        said = re.sub(rf"\b{word}\b", str(place), said)
    assert said in done.stderr


def test_one_of_each_family_comes_first_and_in_a_family_the_small_ones():
    ordered = in_order(NAMES)
    assert sorted(ordered) == sorted(NAMES)
    families = {family(name) for name in NAMES}
    assert {family(name) for name in ordered[: len(families)]} == families
    assert one_of_each(ordered) == ordered[: len(families)]
    resnets = [name for name in ordered if family(name) == "resnet_v1b"]
    assert resnets[:3] == ["resnet18_v1b", "resnet18_v1b_0.89", "resnet34_v1b"]
    for name, its in {
        "center_net_dla34_dcnv2_coco": "center_net, deformable",
        "faster_rcnn_fpn_syncbn_resnest50_coco": "faster_rcnn_fpn",
        "i3d_nl10_resnet50_v1_kinetics400": "i3d_nl",
        "resnet50_v1b_gn": "resnet_v1b_gn",
        "vgg16_ucf101_int8": "vgg, of videos",
    }.items():
        assert family(name) == its


def test_a_sample_is_drawn_by_the_date_of_the_last_commit():
    date = subprocess.run(
        ["git", "log", "-1", "--format=%ct"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.strip()
    drawn = {}
    for seed in (date, "0", "1"):
        given = ["--seed", seed] if seed != date else []
        done = run("--only", "vgg1*_bn", "--only", "resnet*_v1b", "--sample", 2, *given, *STANDS_IN)
        drawn[seed] = re.fullmatch(r"zoo: the seed is (\d+): (.*)\n", done.stderr).groups()
        assert drawn[seed][0] == seed
    names = [name for name in in_order(NAMES) if re.fullmatch(r"vgg1\d_bn|resnet\d+_v1b", name)]
    for seed, names_drawn in drawn.values():
        assert set(names_drawn.split(", ")) == set(random.Random(seed).sample(names, 2))


def detections(scores, seed=0):
    """Return a detector's outputs with these scores: ids, scores and boxes."""
    draw = np.random.default_rng(seed)
    count = len(scores)
    ids = draw.integers(0, 20, (1, count, 1)).astype("float32")
    return [ids, np.reshape(scores, (1, count, 1)).astype("float32"), draw.uniform(0, 512, (1, count, 4))]


def test_numbers_are_compared_with_the_largest_of_their_output():
    small, large = np.array([[1.0, 0.5]]), np.array([[1000.0, 1.0]])
    outcome = compare([small + 2e-5, large], [small, large])
    assert (outcome.close, outcome.agrees) == (True, True)
    assert outcome.difference == pytest.approx(2e-5)
    assert not compare([small, np.array([[1000.0, 1.2]])], [small, large]).agrees
    assert compare([small[:, :1]], [small]).difference == float("inf")
    assert compare([np.array([[np.nan, 1]])], [np.array([[np.nan, 1.0]])]).agrees
    assert not compare([np.array([[np.nan, 1]])], [np.array([[2.0, 1.0]])]).agrees
    assert compare([np.zeros((1, 3))], [np.zeros((1, 3))]).flat == 1


def test_tied_detections_are_compared_in_mxnets_order():
    expected = detections([0.9, 0.5, 0.5, 0.4, 0.3, 0.2, 0.1])
    found = [array[:, [0, 2, 1, *range(3, 7)]] for array in expected]
    outcome = compare(found, expected)
    assert (outcome.agrees, outcome.moved, outcome.detections) == (True, 2, 7)


def test_other_detections_count_and_mxnet_is_the_measure():
    expected = detections([0.9, 0.7, 0.5, 0.1])
    found, worse = ([array.copy() for array in expected] for _ in range(2))
    found[2][0, 1] += 40
    worse[2][0, 1:3] += 40
    outcome = compare(found, expected)
    assert (outcome.agrees, outcome.others) == (False, 1)
    same, as_far = compare(expected, expected), compare(found, expected)
    assert not outcome.beside([same, same]).agrees
    assert outcome.beside([same, as_far]).agrees
    assert not compare(worse, expected).beside([same, as_far]).agrees


def test_mxnet_is_the_measure_of_other_numbers_too():
    expected = [np.linspace(0, 1, 50).reshape(1, 50)]
    far, two = (expected[0].copy() for _ in range(2))
    far[0, 3] += 0.2
    two[0, 3:5] += 0.2
    own = compare([far], expected)
    assert compare([far], expected).beside([own]).agrees
    assert not compare([two], expected).beside([own]).agrees
    assert not compare([expected[0] + (far - expected[0]) * 3], expected).beside([own]).agrees


def test_the_disturbance_is_a_millionth():
    (image,), (other,) = [np.ones((1, 3, 8, 8), "float32")], disturbed([np.ones((1, 3, 8, 8), "float32")], 0)
    assert 0 < np.abs(other - image).max() < 1.2e-6
    assert other.dtype == image.dtype
