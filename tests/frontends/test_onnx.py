"""ONNX files: external weights, open sizes, unknown operators, and invalid files."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from tests.frontends.nets import Net
from tophub_registry.bench.onnx_model import onnx_model
from tophub_registry.bench.relax_network import network_of
from tophub_registry.compiler.compiler import compile_model
from tophub_registry.errors import InputError, UsageError
from tophub_registry.frontends import read_model


def small(shape=(1, 3, 8, 8)):
    net = Net(shape)
    value = net.add("Conv", "x", net.weight(8, 3, 3, 3, name="stem.weight"), pads=[1] * 4)
    value = net.add("Flatten", net.add("GlobalAveragePool", net.add("Relu", value)))
    return net.model(net.add("Gemm", value, net.weight(8, 5, name="head.weight")))


@pytest.fixture
def saved(tmp_path):
    path = tmp_path / "small.onnx"
    onnx.save(small(), path)
    return path


def test_a_file_and_its_weights_beside_it(tmp_path, saved):
    apart = tmp_path / "apart.onnx"
    onnx.save(small(), apart, save_as_external_data=True, location="apart.data", size_threshold=0)
    models = [read_model(path) for path in (saved, str(apart), onnx.load(saved))]
    assert [[layer.name for layer in model.layers] for model in models] == [["stem", "head"]] * 3
    outputs = [compile_model(model, "llvm", records=[]).run(*model.random_inputs()) for model in models]
    for output in outputs:
        np.testing.assert_allclose(output[0], models[0].reference(*models[0].random_inputs())[0], atol=1e-5)


def test_weights_that_are_missing_are_named(tmp_path):
    apart = tmp_path / "apart.onnx"
    onnx.save(small(), apart, save_as_external_data=True, location="apart.data", size_threshold=0)
    (tmp_path / "apart.data").unlink()
    with pytest.raises(InputError, match=r"apart.data"):
        read_model(apart)


def test_open_sizes_are_fixed_by_the_batch_or_by_shapes():
    proto = small(("N", 3, "height", "width"))
    with pytest.raises(UsageError, match=r"'x' leaves sizes open: N,3,height,width \(give --shape x=1,3,N,N\)"):
        read_model(proto)
    model = read_model(proto, shapes={"x": (2, 3, 10, 12)})
    assert model.inputs == {"x": ((2, 3, 10, 12), "float32")}
    np.testing.assert_allclose(
        compile_model(model, "llvm", records=[]).run(*model.random_inputs())[0],
        model.reference(*model.random_inputs())[0],
        atol=1e-5,
    )
    assert read_model(small(("N", 3, 8, 8)), batch=4).inputs["x"][0] == (4, 3, 8, 8)


@pytest.mark.parametrize(
    ("shapes", "message"),
    [
        ({"y": (1, 3, 8, 8)}, r"no input 'y' \(its inputs: x\)"),
        ({"x": (1, 3, 8)}, "has the sizes 1,3,8,8, not 1,3,8"),
        ({"x": (1, 3, 9, 8)}, "has the fixed sizes 1,3,8,8, not 1,3,9,8"),
        ({"x": (1, 3, 0, 8)}, "not 1,3,0,8"),
    ],
)
def test_shapes_that_do_not_fit(shapes, message):
    with pytest.raises(UsageError, match=message):
        read_model(small(), shapes=shapes)


def test_an_unknown_operator_is_reported_before_tuning():
    net = Net((1, 3, 8, 8))
    value = net.add("Conv", "x", net.weight(4, 3, 3, 3))
    net.nodes.append(helper.make_node("Strange", [value], ["strange"], name="odd", domain="com.example"))
    net.nodes.append(helper.make_node("Relu", [value], ["out"]))
    proto = net.model("out")
    proto.opset_import.append(helper.make_opsetid("com.example", 1))
    proto.graph.output.append(helper.make_tensor_value_info("strange", TensorProto.FLOAT, (1, 4, 6, 6)))
    model = read_model(proto)
    assert model.untranslated == {"Strange": ["odd"]}
    assert len(model.layers) == 1
    with pytest.raises(UsageError, match=r"the operator Strange \(layers: odd\) can't be translated"):
        compile_model(model, "llvm", records=[])


def test_integers_go_in_as_integers():
    net = Net((1,))
    net.inputs = [helper.make_tensor_value_info("x", TensorProto.INT64, (1, 6))]
    embedded = net.add("Gather", net.weight(10, 4), "x")
    model = read_model(net.model(net.add("MatMul", embedded, net.weight(4, 3))))
    assert model.inputs == {"x": ((1, 6), "int64")}
    words = np.array([[0, 3, 9, 1, 2, 5]])
    (output,) = compile_model(model, "llvm", records=[]).run(words)
    np.testing.assert_allclose(output, model.reference(words)[0], atol=1e-5)


@pytest.mark.parametrize("content", [b"not a model", b"\x08\x08", b"\xff" * 64])
def test_a_file_that_is_no_model(tmp_path, content):
    path = tmp_path / "model.onnx"
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"model.onnx: not an ONNX model"):
        read_model(path)


def test_a_missing_file(tmp_path):
    with pytest.raises(InputError, match=r"model.onnx: no such file"):
        read_model(tmp_path / "model.onnx")


@pytest.mark.parametrize(("name", "remedy"), [("weights.pth", "torch.export.save"), ("model.tflite", "give a gluoncv")])
def test_files_of_other_kinds_are_told_what_is_read(tmp_path, name, remedy):
    path = tmp_path / name
    path.write_bytes(b"x")
    with pytest.raises(UsageError, match=remedy):
        read_model(path)


@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    [
        "resnet18_v1",
        *(pytest.param(name, marks=pytest.mark.exhaustive) for name in ("mobilenetv2_1.0", "simple_pose_resnet18_v1b")),
    ],
)
@pytest.mark.usefixtures("mxnet")
def test_a_gluoncv_model_has_the_same_tasks_by_way_of_onnx(name):
    shapes = {"data": (1, 3, 64, 64)}
    original = read_model(name, shapes=shapes)
    other = read_model(onnx.load_from_string(onnx_model(network_of(original.module))))
    for kind in ("llvm", "cuda"):
        first, second = (
            [(t.workload, t.count) for t in each.tasks(kind, own=True).tasks] for each in (original, other)
        )
        assert first == second
    image = original.random_inputs()
    (mine,), (theirs,) = compile_model(other, "llvm").run(*image), original.reference(*image)
    assert np.abs(mine - theirs).max() <= 1e-4 * np.abs(theirs).max()
