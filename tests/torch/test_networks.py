"""The same network from PyTorch and ONNX has the same tasks, and computes what PyTorch does."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from tests.frontends.resnet18 import TASKS  # noqa: E402
from tests.torch.networks import DETECTOR, SEGMENTER, image, network  # noqa: E402
from tophub_registry.compiler.compiler import compile_model  # noqa: E402
from tophub_registry.frontends import read_model  # noqa: E402

NAMES = [
    *("resnet18", "mobilenet_v2"),
    *(
        pytest.param(name, marks=pytest.mark.exhaustive)
        for name in (
            "efficientnet_b0",
            "vgg16_bn",
            "densenet121",
            "convnext_tiny",
            SEGMENTER,
            "shufflenet_v2_x1_0",
            "squeezenet1_0",
        )
    ),
    pytest.param(DETECTOR, marks=pytest.mark.slow),
    *(pytest.param(name, marks=pytest.mark.exhaustive) for name in ("mnasnet1_0", "regnet_y_400mf", "googlenet")),
]
LAYERS = {"resnet18": 21, "mobilenet_v2": 53, "efficientnet_b0": 82, DETECTOR: 98}


def exported(name, folder):
    """Return a network as a program, and as an ONNX file."""
    module, example = network(name), image(name)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        program = torch.export.export(module, (example,))
        file = folder / f"{name}.onnx"
        torch.onnx.export(module, (example,), file, dynamo=True, verbose=False)
    return program, file


@pytest.fixture(scope="module", params=NAMES)
def pair(request, tmp_path_factory):
    """A network read from both."""
    program, file = exported(request.param, tmp_path_factory.mktemp("models"))
    return request.param, read_model(program), read_model(file)


@pytest.mark.parametrize("kind", ["llvm", "cuda"])
def test_both_have_the_same_tasks(pair, kind):
    name, program, file = pair
    both = [model.tasks(kind, own=True).tasks for model in (program, file)]
    first, second = ({task.workload: task.count for task in tasks} for tasks in both)
    assert first == second
    assert program.untranslated == file.untranslated == {}
    assert len(program.layers) == len(file.layers) == LAYERS.get(name, len(file.layers))


def test_both_compute_what_pytorch_does(pair):
    name, program, file = pair
    example = image(name)
    expected = [output.numpy() for output in _flat(network(name)(example))]
    for model in (program, file):
        outputs = compile_model(model, "llvm").run(example.numpy())
        for mine, theirs in zip(outputs, expected, strict=True):
            assert np.abs(mine - theirs).max() <= 1e-4 * np.abs(theirs).max()


def test_gluoncvs_resnet18_is_torchvisions(pair):
    """The task lists of both are written down; MXNet and today's NumPy do not go together."""
    name, program, _ = pair
    if name != "resnet18":
        pytest.skip("one network is enough")
    assert sorted(str(task) for task in program.tasks("llvm").tasks) == TASKS


def _flat(outputs):
    if isinstance(outputs, torch.Tensor):
        return [outputs.detach()]
    values = outputs.values() if isinstance(outputs, dict) else outputs
    return [tensor for value in values for tensor in _flat(value)]
