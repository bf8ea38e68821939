"""Our tasks are those that real AutoTVM extracts from the same networks, no more and no fewer."""

from __future__ import annotations

import importlib.util
import json
from concurrent.futures import Future, ThreadPoolExecutor
from functools import cache, partial
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

if TYPE_CHECKING:
    from tophub_registry.frontends import Model

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(importlib.util.find_spec("gluoncv") is None, reason="gluoncv is not installed"),
]

SMALL = ["resnet18_v1", "cifar_resnet20_v1", "mobilenet1.0"]
MODELS = [
    "resnet50_v1",
    "mobilenetv2_1.0",
    "vgg16",
    "densenet121",
    "squeezenet1.0",
    "inceptionv3",
    "ssd_512_resnet50_v1_voc",
    "se_resnext50_32x4d",
    "simple_pose_resnet18_v1b",
    "c3d_kinetics400",
]

KINDS_OF_LAYERS = {"mobilenetv2_1.0", "se_resnext50_32x4d", "simple_pose_resnet18_v1b", "c3d_kinetics400"}
"""Depthwise, grouped, transposed and volumetric convolutions: the other models of the list have no kind more."""

MORE_BATCHES = "more larger batches"

Asked = list[tuple[str, str, int]]
"""Model, kind of target and batch."""

CASES: dict[str, tuple[Asked, list[str]]] = {
    "whole networks on a CPU": ([(model, "llvm", 1) for model in SMALL], []),
    "the same layer by layer on a GPU": ([(model, "cuda", 1) for model in SMALL], ["--layers"]),
    "larger batches": ([("cifar_resnet20_v1", "llvm", 2), ("cifar_resnet20_v1", "cuda", 32)], ["--layers"]),
    MORE_BATCHES: ([("cifar_resnet20_v1", "llvm", 32), ("cifar_resnet20_v1", "cuda", 2)], ["--layers"]),
    **{f"{model} layer by layer": ([(model, "llvm", 1), (model, "cuda", 1)], ["--layers"]) for model in MODELS},
}


class Comparison(NamedTuple):
    """What is asked, our networks, and the old client's answers to come."""

    asked: Asked
    networks: list[Model]
    answers: Future[list[Any]]


def is_more_of_the_same(name: str) -> bool:
    return name.removesuffix(" layer by layer") in {MORE_BATCHES, *MODELS} - KINDS_OF_LAYERS


@pytest.fixture(scope="module")
def comparisons(old_client, exhaustive):
    """Ask the old client two things at a time, as nothing is timed here."""
    from tophub_registry.frontends import read_model

    read = cache(partial(read_model, weightless=True))
    pool = ThreadPoolExecutor(2)
    found = {}
    for name, (asked, options) in CASES.items():
        if is_more_of_the_same(name) and not exhaustive:
            continue
        networks = [read(model, batch=batch) for model, _, batch in asked]
        question = [[model, kind, net.inputs["data"][0]] for (model, kind, _), net in zip(asked, networks, strict=True)]
        answers = pool.submit(old_client.run, "extract", json.dumps(question), *options)
        found[name] = Comparison(asked, networks, answers)
    yield found
    pool.shutdown(cancel_futures=True)


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.exhaustive] * is_more_of_the_same(name)) for name in CASES]
)
def test_the_tasks_are_autotvms(comparisons, name):
    asked, networks, answers = comparisons[name]
    for (model, kind, _), network, answer in zip(asked, networks, answers.result(), strict=True):
        ours = {json.dumps([task.task, task.args]) for task in network.tasks(kind).tasks}
        theirs = set(map(json.dumps, answer))
        assert theirs
        assert (ours - theirs, theirs - ours) == (set(), set()), f"{model} {kind}"


@pytest.mark.slow
def test_a_symbol_file_gives_both_the_same(old_client, tmp_path):
    import gluoncv
    import mxnet

    path = tmp_path / "net-symbol.json"
    network = gluoncv.model_zoo.get_model("cifar_resnet20_v1", pretrained=False)
    path.write_text(network(mxnet.sym.var("data")).tojson())
    from tophub_registry.frontends import read_model

    ours = read_model(path, shapes={"data": [1, 3, 32, 32]}, weightless=True).tasks("llvm").tasks
    [theirs] = old_client.run("extract", json.dumps([[str(path), "llvm", [1, 3, 32, 32]]]), "--layers")
    assert {json.dumps([task.task, task.args]) for task in ours} == set(map(json.dumps, theirs))
