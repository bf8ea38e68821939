"""The same spaces: for every task that a template covers, length, knobs and entities are real AutoTVM's."""

import json

import pytest

from tests.gpu.workloads import WORKLOADS
from tophub_registry.frontends import read_model
from tophub_registry.records.record import Knob
from tophub_registry.records.task import Task, tensor
from tophub_registry.tasks.rules import is_own
from tophub_registry.templates.registry import TEMPLATES, instantiate

MODELS = [
    "resnet18_v1",
    "resnet50_v1",
    "mobilenet1.0",
    "mobilenetv2_1.0",
    "vgg16",
    "densenet121",
    "squeezenet1.0",
    "inceptionv3",
    "ssd_512_resnet50_v1_voc",
    "se_resnext50_32x4d",
    "cifar_resnet20_v1",
    "simple_pose_resnet18_v1b",
]
KINDS_OF_LAYERS = ["resnet18_v1", "mobilenetv2_1.0", "se_resnext50_32x4d", "simple_pose_resnet18_v1b"]
TARGETS = {"llvm": "llvm -mtriple=x86_64-linux-gnu -mcpu=znver4", "cuda": "cuda"}
SAMPLES = 200


@pytest.fixture(scope="module")
def networks(exhaustive):
    return [read_model(model, weightless=True) for model in (MODELS if exhaustive else KINDS_OF_LAYERS)]


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
    volumetric = [
        (1, [1, 64, 4, 14, 14], [96, 64, 3, 3, 3], [1, 1, 1], [1, 1, 1, 1, 1, 1], [1, 1, 1]),
        (1, [2, 6, 7, 11, 34], [10, 6, 3, 1, 5], [2, 1, 2], [1, 0, 3, 0, 1, 2], [1, 1, 1]),
        (1, [1, 8, 9, 12, 20], [12, 8, 3, 3, 3], [1, 1, 1], [1, 2, 2, 1, 2, 2], [1, 2, 2]),
        (3, [1, 12, 5, 9, 12], [18, 4, 3, 3, 3], [1, 2, 1], [1, 1, 1, 1, 1, 1], [1, 1, 1]),
    ]
    for groups, data, kernel, *rest in volumetric:
        args = [tensor(data), tensor(kernel), *rest, groups, "float32"]
        yield Task(task="conv3d_ncdhw.x86", args=args)
    for name in ("dense_nopack.x86", "dense_pack.x86"):
        yield Task(task=name, args=[tensor([12, 90]), tensor([210, 90]), None, "float32"])
    for output, transposed, shapes in (
        ([12, 197, 197], (0, 1), ([12, 197, 64], [12, 197, 64])),
        ([12, 128, 64], (0, 0), ([12, 128, 96], [12, 96, 64])),
        ([2, 18, 20], (1, 0), ([2, 24, 18], [2, 24, 20])),
    ):
        yield Task(task="batch_matmul.x86", args=[*map(tensor, shapes), output, "float32", *transposed])


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


@pytest.mark.slow
@pytest.mark.parametrize("kind", TARGETS)
def test_spaces_of_odd_workloads_are_autotvms(old_client, kind, tmp_path):
    for_cuda = [Task(task=task, args=args) for task, args in WORKLOADS if not is_own(task)]
    check(old_client, for_cuda if kind == "cuda" else list(odd_tasks()), TARGETS[kind], tmp_path / "tasks.json")


@pytest.mark.slow
@pytest.mark.parametrize("kind", TARGETS)
def test_the_spaces_of_every_task_of_many_models_are_autotvms(old_client, networks, kind, tmp_path):
    tasks = {task.workload: task for network in networks for task in network.tasks(kind).tasks}
    assert {task.task for task in tasks.values()} <= set(TEMPLATES)
    check(old_client, list(tasks.values()), TARGETS[kind], tmp_path / "tasks.json")
