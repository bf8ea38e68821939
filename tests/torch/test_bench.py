"""A program of `torch.export` is timed as it is in PyTorch, and translated for those that read ONNX."""

from __future__ import annotations

import warnings

import pytest

torch = pytest.importorskip("torch")

from tophub_registry.bench.agreement import difference  # noqa: E402
from tophub_registry.bench.job import Job  # noqa: E402
from tophub_registry.bench.peer import Peer  # noqa: E402
from tophub_registry.bench.prepared import prepare, read_arrays  # noqa: E402


class Words(torch.nn.Module):
    """A transformer's layer over embedded tokens with positions; its outputs have names."""

    def __init__(self):
        super().__init__()
        self.words, self.places = torch.nn.Embedding(50, 32), torch.nn.Embedding(16, 32)
        self.layer = torch.nn.TransformerEncoderLayer(32, 4, 64, batch_first=True, activation="gelu")
        self.head = torch.nn.Linear(32, 5)

    def forward(self, tokens):
        found = self.layer(self.words(tokens) + self.places(torch.arange(tokens.shape[1])[None]))
        return {"scores": self.head(found[:, 0]), "words": found}


class Picture(torch.nn.Module):
    """An image's features, scaled up; a single output."""

    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Conv2d(3, 8, 3, padding=1)

    def forward(self, image):
        return torch.nn.functional.interpolate(self.layer(image), scale_factor=2, mode="bilinear")


@pytest.fixture(scope="module", params=["words", "picture"])
def job(request, tmp_path_factory):
    torch.manual_seed(0)
    words = request.param == "words"
    module = (Words() if words else Picture()).eval()
    example = torch.randint(0, 50, (1, 16)) if words else torch.randn(1, 3, 12, 16)
    folder = tmp_path_factory.mktemp(request.param)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.export.save(torch.export.export(module, (example,)), folder / "model.pt2")
        prepare(str(folder / "model.pt2"), folder / "prepared")
    return Job(str(folder / "prepared"), "llvm", [], 1)


@pytest.mark.parametrize(
    "framework", ["pytorch", "onnxruntime", pytest.param("pytorch-compile", marks=pytest.mark.exhaustive)]
)
def test_its_outputs_are_the_programs(framework, job, tmp_path):
    if framework == "onnxruntime":
        pytest.importorskip("onnxruntime")
    job.write(tmp_path)
    peer = Peer(framework, tmp_path, 1)
    try:
        peer.load(600)
    finally:
        peer.close()
    assert difference(read_arrays(tmp_path / f"{framework}.npz"), job.prepared.references()) < 1e-3
