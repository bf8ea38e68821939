"""Our tasks are those that real AutoTVM extracts from the same networks, no more and no fewer."""

from __future__ import annotations

import importlib.util
import json
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from tests.old_client.environment import OldClient
    from tophub_registry.models.network import Network

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(importlib.util.find_spec("gluoncv") is None, reason="gluoncv is not installed"),
]

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


Asked = list[tuple[str, str, int]]
"""Model, kind of target and batch."""


def read(asked: Asked) -> list[Network]:
    from tophub_registry.models.network import read_network

    return [read_network(model, batch=batch) for model, _, batch in asked]


def question(asked: Asked, networks: list[Network]) -> str:
    return json.dumps(
        [[model, kind, network.inputs["data"]] for (model, kind, _), network in zip(asked, networks, strict=True)]
    )


def differences(asked: Asked, networks: list[Network], answers: list[Any]) -> dict[str, list[set[str]]]:
    """Return, for each model and kind that differs, the tasks that only we have and those that only they have."""
    found = {}
    for (model, kind, _), network, answer in zip(asked, networks, answers, strict=True):
        ours = {json.dumps([task.task, task.args]) for task in network.tasks(kind).tasks}
        theirs = set(map(json.dumps, answer))
        assert theirs
        if ours != theirs:
            found[f"{model} {kind}"] = [ours - theirs, theirs - ours]
    return found


def check(old_client: OldClient, asked: Asked, *options: str) -> None:
    networks = read(asked)
    assert differences(asked, networks, old_client.run("extract", question(asked, networks), *options)) == {}


@pytest.fixture(scope="module")
def two_at_a_time():
    """Run functions in the background, as nothing is timed here."""
    pool = ThreadPoolExecutor(2)
    yield pool
    pool.shutdown(cancel_futures=True)


@pytest.fixture(scope="module")
def comparisons(old_client, two_at_a_time):
    """Return for each model what is asked, its network for each kind, and the answers to come."""
    found = {}
    for model in MODELS:
        asked = [(model, "llvm", 1), (model, "cuda", 1)]
        networks = read(asked)
        answers = two_at_a_time.submit(old_client.run, "extract", question(asked, networks), "--layers")
        found[model] = asked, networks, answers
    return found


def test_whole_networks_on_a_cpu(old_client):
    models = ("resnet18_v1", "cifar_resnet20_v1", "mobilenet1.0")
    check(old_client, [(model, "llvm", 1) for model in models])


def test_the_same_networks_layer_by_layer_on_a_gpu(old_client):
    models = ("resnet18_v1", "cifar_resnet20_v1", "mobilenet1.0")
    check(old_client, [(model, "cuda", 1) for model in models], "--layers")


def test_larger_batches(old_client):
    asked = [("cifar_resnet20_v1", kind, batch) for kind in ("llvm", "cuda") for batch in (2, 32)]
    check(old_client, asked, "--layers")


@pytest.mark.parametrize("model", MODELS)
def test_more_networks_layer_by_layer(comparisons, model):
    asked, networks, answers = comparisons[model]
    assert differences(asked, networks, answers.result()) == {}


def test_a_symbol_file_gives_both_the_same(old_client, tmp_path):
    import gluoncv
    import mxnet

    path = tmp_path / "net-symbol.json"
    network = gluoncv.model_zoo.get_model("cifar_resnet20_v1", pretrained=False)
    path.write_text(network(mxnet.sym.var("data")).tojson())
    from tophub_registry.models import extract_tasks

    ours = extract_tasks(path, "llvm", shapes={"data": [1, 3, 32, 32]}).tasks
    [theirs] = old_client.run("extract", json.dumps([[str(path), "llvm", [1, 3, 32, 32]]]), "--layers")
    assert {json.dumps([task.task, task.args]) for task in ours} == set(map(json.dumps, theirs))
