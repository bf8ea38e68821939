"""Our tasks are those that real AutoTVM extracts from the same networks, no more and no fewer."""

from __future__ import annotations

import importlib.util
import json
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.old_client.environment import OldClient

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


def differences(old_client: OldClient, asked: list[tuple[str, str, int]], *options: str) -> dict[str, list[set[str]]]:
    """Return, for each (model, kind, batch) that differs, the tasks that only we have and those that only they have."""
    from tophub_registry.models.network import read_network

    networks = [read_network(model, batch=batch) for model, _, batch in asked]
    question = [[model, kind, net.inputs["data"]] for (model, kind, _), net in zip(asked, networks, strict=True)]
    found = {}
    for (model, kind, _), network, answer in zip(
        asked, networks, old_client.run("extract", json.dumps(question), *options), strict=True
    ):
        ours = {json.dumps([task.task, task.args]) for task in network.tasks(kind).tasks}
        theirs = set(map(json.dumps, answer))
        assert theirs
        if ours != theirs:
            found[f"{model} {kind}"] = [ours - theirs, theirs - ours]
    return found


def test_whole_networks_on_a_cpu(old_client):
    models = ("resnet18_v1", "cifar_resnet20_v1", "mobilenet1.0")
    assert differences(old_client, [(model, "llvm", 1) for model in models]) == {}


def test_the_same_networks_layer_by_layer_on_a_gpu(old_client):
    models = ("resnet18_v1", "cifar_resnet20_v1", "mobilenet1.0")
    assert differences(old_client, [(model, "cuda", 1) for model in models], "--layers") == {}


def test_larger_batches(old_client):
    asked = [("cifar_resnet20_v1", kind, batch) for kind in ("llvm", "cuda") for batch in (2, 32)]
    assert differences(old_client, asked, "--layers") == {}


@pytest.mark.parametrize("model", MODELS)
def test_more_networks_layer_by_layer(old_client, model):
    assert differences(old_client, [(model, "llvm", 1), (model, "cuda", 1)], "--layers") == {}


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
