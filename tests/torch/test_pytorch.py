"""Programs of `torch.export`: in memory and saved, with open sizes, with untranslatable operators."""

from __future__ import annotations

import random
import sys

import numpy as np
import pytest

torch = pytest.importorskip("torch")

import tophub_registry as tophub  # noqa: E402
from tophub_registry.cli import main  # noqa: E402
from tophub_registry.errors import InputError, UsageError  # noqa: E402


class Small(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = torch.nn.Conv2d(3, 8, 3, padding=1)
        self.norm = torch.nn.BatchNorm2d(8)
        self.head = torch.nn.Linear(8, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(torch.relu(self.norm(self.conv(x))).mean((2, 3)))


class Gamma(Small):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(torch.lgamma(x) + x)


def program(module=None, **how):
    return torch.export.export((module or Small()).eval(), (torch.randn(2, 3, 8, 8),), **how)


@pytest.fixture
def saved(tmp_path):
    path = tmp_path / "small.pt2"
    torch.export.save(program(), path)
    return path


def test_a_program_in_memory_and_saved(saved):
    image = np.random.default_rng(0).standard_normal((2, 3, 8, 8)).astype("float32")
    for model in (program(), saved, str(saved)):
        compiled = tophub.compile(model, "llvm", records=[])
        assert [layer.layer.name for layer in compiled.layers] == ["conv", "head"]
        np.testing.assert_allclose(compiled.run(image)[0], compiled.model.reference(image)[0], atol=1e-5)


def test_open_sizes_are_fixed_by_the_batch_or_by_shapes():
    sizes = {"x": {0: torch.export.Dim("batch", min=1, max=64)}}
    open_batch = program(dynamic_shapes=sizes)
    assert tophub.read_model(open_batch).inputs == {"x": ((1, 3, 8, 8), "float32")}
    assert tophub.read_model(open_batch, batch=4).inputs["x"][0] == (4, 3, 8, 8)
    assert tophub.read_model(open_batch, shapes={"x": (7, 3, 8, 8)}).inputs["x"][0] == (7, 3, 8, 8)
    with pytest.raises(UsageError, match=r"fixed sizes .*,3,8,8, not 7,4,8,8"):
        tophub.read_model(open_batch, shapes={"x": (7, 4, 8, 8)})


def test_an_untranslatable_operator_is_reported_before_tuning():
    model = tophub.read_model(program(Gamma()))
    assert [layer.name for layer in model.layers] == ["conv", "head"]
    assert any("lgamma" in operator for operator in model.untranslated)
    with pytest.raises(UsageError, match="can't be translated to Relax"):
        tophub.compile(model, "llvm", records=[])


class Last(torch.nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return 2 * x[:, -1] + x[:, 0]


class Recurrent(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.lstm = torch.nn.LSTM(8, 16, batch_first=True)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.lstm(x.flatten(2))[0][:, -1]


@pytest.mark.filterwarnings("ignore:The tensor attributes")
@pytest.mark.parametrize("module", [Last(), Recurrent()])
def test_places_are_counted_from_the_back_too(module):
    """TVM's front end takes the place -1 as it is, and reads before the array."""
    example = torch.randn(2, 3, 2, 4)
    model = tophub.read_model(torch.export.export(module.eval(), (example,)))
    outputs = tophub.compile(model, "llvm", records=[]).run(example.numpy())
    np.testing.assert_allclose(outputs[0], module(example).detach().numpy(), atol=1e-5)


def test_a_module_that_was_not_exported_is_told_how():
    with pytest.raises(UsageError, match=r"Small is not a program of torch.export \(torch.export.export"):
        tophub.read_model(Small())


def test_a_file_that_is_no_program(tmp_path):
    path = tmp_path / "model.pt2"
    path.write_bytes(b"PK not a program")
    with pytest.raises(InputError, match=r"model.pt2: not a program that torch.export.save wrote"):
        tophub.read_model(path)


def test_a_program_that_is_cut_off_is_one_line(saved, tmp_path, capfd):
    data, draw = saved.read_bytes(), random.Random(0)
    for end in (0, *(draw.randrange(len(data)) for _ in range(10))):
        (tmp_path / "torn.pt2").write_bytes(data[:end])
        with pytest.raises(SystemExit) as caught:
            main(["extract", str(tmp_path / "torn.pt2")])
        assert caught.value.code == 1
        (line,) = capfd.readouterr().err.splitlines()
        assert (
            "torn.pt2: not a program that torch.export.save wrote, or only a part of one (" in line or "empty" in line
        )


def test_the_commands_take_it(saved, tmp_path, capsys):
    def run(*arguments):
        with pytest.raises(SystemExit) as caught:
            main([*map(str, arguments)])
        return caught.value.code or 0, capsys.readouterr()

    code, said = run("extract", saved, "--target", "cuda")
    assert code == 0
    assert "conv2d_nchw.cuda 2x3x8x8" in said.out
    log = tmp_path / "mine.log"
    code, said = run("tune", saved, "--total-trials", 8, "-o", log, "--timeout", 20)
    assert code == 0, said.err
    code, said = run("compile", saved, "-l", log, "-o", tmp_path / "small.so")
    assert code == 0, said.err
    assert (tmp_path / "small.so").exists()


def test_tvm_and_torch_are_one_process_with_todays_numpy():
    tophub.read_model(program())
    assert {"torch", "tvm"} <= set(sys.modules)
    assert int(np.__version__.split(".")[0]) >= 2
