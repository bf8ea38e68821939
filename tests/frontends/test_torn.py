"""A file that is no model, or only a part of one, is one line with the file and what to do, whatever a library says."""

from __future__ import annotations

import random
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

onnx = pytest.importorskip("onnx")
tvm = pytest.importorskip("tvm")

from tests.frontends.nets import Net, random_net  # noqa: E402
from tophub_registry.cli import main  # noqa: E402
from tophub_registry.errors import InputError  # noqa: E402
from tophub_registry.frontends import read_model  # noqa: E402
from tophub_registry.frontends.mxnet import libraries  # noqa: E402

TORN = (
    r"{}:?\d*: "
    r"(not an? .*, or only a part of one \(copy, download or export it again\)|the file is empty \(copy or .*\))$"
)

BEGINNINGS = {
    "the file is empty": b"",
    "`git lfs pull` brings it": b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 5\n",
    "a web page": b"\n<!DOCTYPE html>\n<html>",
    "only a part": b"not a model",
}


def torn(path: Path, count: int) -> list[bytes]:
    """Return some beginnings of a file, drawn at random."""
    data, draw = path.read_bytes(), random.Random(path.stat().st_size)
    return [data[: draw.randrange(len(data))] for _ in range(count)]


def check(model, torn_file, contents, **options):
    """Check that each of these contents is refused."""
    for content in contents:
        torn_file.write_bytes(content)
        with pytest.raises(InputError, match=TORN.format(torn_file.name)) as caught:
            read_model(model, **options)
        assert "\n" not in str(caught.value)


def test_onnx(tmp_path, capfd):
    path = tmp_path / "model.onnx"
    for seed in range(5):
        onnx.save(random_net(seed), path)
        check(path, path, torn(path, 10))
    with pytest.raises(SystemExit) as caught:
        main(["extract", str(path)])
    assert caught.value.code == 1
    assert capfd.readouterr().err.startswith(f"tophub: error: {path}: not an ONNX model, or only a part of one (")


@pytest.mark.parametrize("said", BEGINNINGS)
def test_what_is_often_taken_for_a_model(tmp_path, said):
    path = tmp_path / "model.onnx"
    path.write_bytes(BEGINNINGS[said])
    with pytest.raises(InputError, match=said):
        read_model(path)


def test_weights_beside_an_onnx_file(tmp_path):
    onnx.save(random_net(3), tmp_path / "m.onnx", save_as_external_data=True, location="m.data", size_threshold=0)
    (tmp_path / "m.data").write_bytes((tmp_path / "m.data").read_bytes()[:-1])
    with pytest.raises(InputError, match=r"m\.onnx: its weights can't be read: "):
        read_model(tmp_path / "m.onnx")


def test_an_onnx_graph_with_a_name_that_nothing_makes(capfd):
    net = Net((1, 3, 8, 8))
    stem = net.add("Conv", "x", net.weight(4, 3, 3, 3))
    with pytest.raises(InputError, match="nothing makes 'other', an input of the node 'Add_1'"):
        read_model(net.model(net.add("Add", stem, "other")))
    assert capfd.readouterr().err == "", "nor a warning of TVM"


def test_a_relax_module_and_its_weights(tmp_path):
    module, weights = tmp_path / "module.json", tmp_path / "weights.npz"
    module.write_text(tvm.ir.save_json(read_model(random_net(3)).module))
    np.savez(weights, x=np.zeros((100, 100)))
    check(module, weights, [*torn(weights, 10), b"", b"not weights"], params=weights)
    check(module, module, torn(module, 10))


@pytest.mark.skipif(find_spec("mxnet") is None, reason="needs MXNet")
def test_an_mxnet_symbol_and_its_weights(tmp_path):
    mx = libraries.mxnet()
    symbol, weights = tmp_path / "model-symbol.json", tmp_path / "model-0000.params"
    made = mx.sym.Convolution(mx.sym.var("data"), kernel=(3, 3), num_filter=8, name="stem")
    made.save(str(symbol))
    mx.nd.save(str(weights), {"arg:stem_weight": mx.nd.ones((8, 3, 3, 3)), "arg:stem_bias": mx.nd.ones(8)})
    shapes = {"data": (1, 3, 8, 8)}
    read_model(symbol, shapes=shapes)
    whole = weights.read_bytes()
    check(symbol, weights, [*torn(weights, 10), b"", b"not weights"], shapes=shapes)
    weights.write_bytes(whole)
    check(symbol, symbol, torn(symbol, 10), shapes=shapes)
