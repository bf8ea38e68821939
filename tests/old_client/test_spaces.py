"""The same spaces: for every task that a template covers, length, knobs and entities are real AutoTVM's."""

import json

import pytest

from tests.gpu.workloads import WORKLOADS
from tophub_registry.models import extract_tasks
from tophub_registry.records.record import Knob
from tophub_registry.records.task import Task, tensor
from tophub_registry.templates.registry import TEMPLATES, instantiate

MODELS = ["resnet18_v1", "cifar_resnet20_v1", "mobilenet1.0"]
SAMPLES = 200


def odd_tasks():
    """Workloads that the models do not have: uneven sizes, dilation, batches."""
    conv = [
        ([1, 6, 13, 17], [10, 6, 3, 3], [1, 1], [1, 0, 2, 1], [1, 1]),
        ([1, 8, 20, 23], [8, 8, 3, 3], [1, 1], [2, 2, 2, 2], [2, 2]),
        ([4, 36, 33, 31], [100, 36, 1, 1], [2, 2], [0, 0, 0, 0], [1, 1]),
    ]
    for data, kernel, *rest in conv:
        args = [tensor(data), tensor(kernel), *rest, "NCHW", "NCHW", "float32"]
        yield Task(task="conv2d_NCHWc.x86", args=args)
    depthwise = [
        ([1, 15, 13, 18], [15, 1, 5, 3], [1, 1], [2, 2, 1, 1], [1, 1]),
        ([2, 12, 11, 140], [12, 1, 3, 3], [2, 2], [0, 1, 2, 1], [1, 1]),
        ([1, 24, 20, 23], [24, 1, 3, 3], [1, 1], [2, 2, 2, 2], [2, 2]),
    ]
    for data, kernel, *rest in depthwise:
        args = [tensor(data), tensor(kernel), *rest, "NCHW", "NCHW", "float32"]
        yield Task(task="depthwise_conv2d_NCHWc.x86", args=args)
    grouped = [
        (32, [1, 128, 56, 56], [128, 4, 3, 3], [1, 1], [1, 1, 1, 1], [1, 1]),
        (32, [1, 512, 28, 28], [512, 16, 3, 3], [2, 2], [1, 1, 1, 1], [1, 1]),
        (3, [2, 18, 13, 170], [30, 6, 5, 3], [1, 1], [2, 2, 1, 1], [1, 1]),
        (4, [1, 24, 20, 25], [32, 6, 3, 3], [1, 1], [2, 2, 2, 2], [2, 2]),
    ]
    for groups, data, kernel, *rest in grouped:
        args = [tensor(data), tensor(kernel), *rest, groups, "float32"]
        yield Task(task="group_conv2d_nchw.x86", args=args)
    for name in ("dense_nopack.x86", "dense_pack.x86"):
        yield Task(task=name, args=[tensor([12, 90]), tensor([210, 90]), None, "float32"])


def check(old_client, tasks, target, path):
    covered = [task for task in tasks if task.task in TEMPLATES]
    assert covered
    path.write_text(json.dumps({"tasks": [task.model_dump() for task in covered]}))
    theirs = old_client.run("spaces", path, target, SAMPLES, 1)
    for task, expected in zip(covered, theirs, strict=True):
        space = instantiate(task.task, task.args).space
        assert len(space) == expected["length"] == expected["range_length"], task
        assert {knob.name: len(knob.options) for knob in space.knobs} == expected["knobs"], task
        assert len(expected["entities"]) >= min(SAMPLES, len(space))
        for index, entity in expected["entities"]:
            assert json.loads(json.dumps(space.config(index).entity)) == entity, (task, index)
            assert space.find([Knob(*knob) for knob in entity]) == index


@pytest.mark.parametrize("model", [*MODELS, "odd"])
def test_spaces_are_autotvms(old_client, model, tmp_path):
    tasks = list(odd_tasks()) if model == "odd" else extract_tasks(model, "llvm").tasks
    check(old_client, tasks, "llvm -mtriple=x86_64-linux-gnu -mcpu=znver4", tmp_path / "tasks.json")


@pytest.mark.parametrize(
    "model",
    [
        "resnet18_v1",
        "mobilenet1.0",
        "odd",
        pytest.param("ssd_512_resnet50_v1_voc", marks=pytest.mark.slow),
        pytest.param("cifar_resnet20_v1", marks=pytest.mark.slow),
    ],
)
def test_spaces_for_cuda_are_autotvms(old_client, model, tmp_path):
    odd = [Task(task=task, args=args) for task, args in WORKLOADS]
    tasks = odd if model == "odd" else extract_tasks(model, "cuda").tasks
    check(old_client, tasks, "cuda", tmp_path / "tasks.json")
