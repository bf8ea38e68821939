"""`tophub extract`, as a user types it."""

from __future__ import annotations

import importlib.util
import json

import pytest

from tophub_registry.cli import main
from tophub_registry.records.task import TaskFile

needs_mxnet = pytest.mark.skipif(importlib.util.find_spec("mxnet") is None, reason="MXNet is not installed")


def run(capsys, *arguments):
    with pytest.raises(SystemExit) as caught:
        main([str(argument) for argument in ("extract", *arguments)])
    output = capsys.readouterr()
    return caught.value.code or 0, output.out, output.err


@needs_mxnet
def test_the_tasks_are_listed(capsys):
    code, out, err = run(capsys, "cifar_resnet20_v1")
    lines = [line.strip() for line in out.splitlines()]
    assert (code, err) == (0, "")
    assert lines[0].split() == ["no.", "layers", "task"]
    assert "2       6  conv2d_NCHWc.x86 1x16x32x32 16x16x3x3" in lines
    assert lines[-1] == "cifar_resnet20_v1 with data=1,3,32,32: 22 tasks for llvm"


@needs_mxnet
def test_a_task_has_the_same_number_with_and_without_our_own_templates(capsys):
    """AutoTVM's come first, and ours after them; --own-templates, which was needed once, changes nothing."""
    _, every, _ = run(capsys, "cifar_resnet20_v1")
    _, autotvm, _ = run(capsys, "cifar_resnet20_v1", "--autotvm-only")
    assert run(capsys, "cifar_resnet20_v1", "--own-templates") == (0, every, "")
    numbered = [line.split() for line in every.splitlines()[1:-1]]
    assert [line.split() for line in autotvm.splitlines()[1:-1]] == numbered[:10]
    ours = {"conv2d_NCHWc_pointwise.x86", "conv2d_NCHWc_tiled.x86", "conv2d_NCHWc_winograd.x86"}
    assert {task for _, _, task, *_ in numbered[10:]} == ours


@needs_mxnet
def test_the_tasks_are_written_and_never_over_others(tmp_path, capsys):
    path = tmp_path / "tasks.json"
    code, out, _ = run(capsys, "cifar_resnet20_v1", "--target", "cuda -model=h100", "--batch", 2, "-o", path, "--json")
    assert code == 0
    assert out == path.read_text()
    tasks = TaskFile.read(path)
    assert (tasks.kind, tasks.shapes, len(tasks.tasks)) == ("cuda", {"data": [2, 3, 32, 32]}, 22)
    before = path.read_bytes()
    code, out, err = run(capsys, "resnet18_v1", "-o", path)
    assert (code, out) == (2, "")
    assert "never overwritten" in err
    assert path.read_bytes() == before


@needs_mxnet
def test_templates_of_our_own_are_alternatives_for_the_same_layers(capsys):
    _, out, _ = run(capsys, "cifar_resnet20_v1", "--json")
    layers = {(task["task"], str(task["args"])): task["layers"] for task in json.loads(out)["tasks"]}
    own = {args: names for (task, args), names in layers.items() if task == "conv2d_NCHWc_winograd.x86"}
    assert len(own) == 4  # one for each width of the network, and the first layer
    assert all(layers["conv2d_NCHWc.x86", args] == names for args, names in own.items())


@needs_mxnet
def test_what_is_left_out_is_said_beside_the_tasks(capsys, tmp_path):
    """Frames of a volume are convolutions that our templates cover, and AutoTVM has none for the volume."""
    from tophub_registry.frontends.mxnet import libraries

    mxnet = libraries.mxnet()
    volume = mxnet.sym.Deconvolution(mxnet.sym.var("data"), kernel=(2, 2, 2), num_filter=4, name="larger")
    (tmp_path / "model.json").write_text(volume.tojson())
    arguments = (tmp_path / "model.json", "--shape", "data=1,4,5,5,5", "--target", "cuda", "--json")
    code, out, err = run(capsys, *arguments)
    assert (code, err) == (0, "")
    assert [task["layers"] for task in json.loads(out)["tasks"]] == [["larger"]]
    code, out, err = run(capsys, *arguments, "--autotvm-only")
    assert (code, json.loads(out)["tasks"]) == (0, [])
    assert err == "tophub: note: no template covers this conv3d_transpose: larger\n"


@pytest.fixture
def strange(tmp_path):
    """A model with two operators that nobody knows, three layers of them, and a dense layer."""
    onnx = pytest.importorskip("onnx")
    from tests.frontends.nets import Net

    net = Net((1, 16))
    value = net.add("MatMul", "x", net.weight(16, 8))
    for number, kind in enumerate(["Odd", "Odd", "Odder"]):
        net.nodes.append(
            onnx.helper.make_node(kind, [value], [f"o{number}"], name=f"odd{number}", domain="com.example")
        )
    proto = net.model("o0", "o1", "o2")
    proto.opset_import.append(onnx.helper.make_opsetid("com.example", 1))
    for output in proto.graph.output:
        output.type.CopyFrom(onnx.helper.make_tensor_type_proto(onnx.TensorProto.FLOAT, (1, 8)))
    path = tmp_path / "strange.onnx"
    onnx.save(proto, path)
    return path


REFUSED = (
    "tophub: note: `tophub compile` can't compile {model}: the operators Odd (layers: odd0, odd1); "
    "Odder (layers: odd2) can't be translated to Relax; its tasks are of use to AutoTVM only\n"
)


def test_the_last_word_is_that_a_model_can_not_be_compiled(strange, tmp_path, capsys):
    code, out, err = run(capsys, strange, "-o", tmp_path / "tasks.json")
    assert (code, err) == (0, REFUSED.format(model=strange))
    assert "1x16 8x16" in out
    code, out, err = run(capsys, strange, "--json")
    assert (code, err) == (0, REFUSED.format(model=strange))
    assert json.loads(out)["untranslated"] == {"Odd": ["odd0", "odd1"], "Odder": ["odd2"]}
    assert (tmp_path / "tasks.json").read_text() == out
    with pytest.raises(SystemExit):
        main(["compile", str(strange), "-o", str(tmp_path / "library.so")])
    assert "the operators Odd (layers: odd0, odd1); Odder (layers: odd2) can't be" in capsys.readouterr().err


@pytest.mark.slow
def test_tuning_says_so_before_it_starts(strange, tmp_path, capsys):
    with pytest.raises(SystemExit) as ended:
        main(["tune", str(strange), "--only", "1", "--trials", "1", "-o", str(tmp_path / "new.log")])
    assert not ended.value.code
    err = capsys.readouterr().err
    assert err.startswith(REFUSED.format(model=strange) + "tophub: measuring on ")
    assert "compar" not in err  # in the whole model, which can't be compiled


def test_tuning_its_tasks_says_so_too(tmp_path, capsys):
    path = tmp_path / "tasks.json"
    untranslated = {"Odd": ["odd0", "odd1"], "Odder": ["odd2"]}
    TaskFile(model="strange.onnx", kind="llvm", shapes={}, tasks=[], untranslated=untranslated).write(path)
    with pytest.raises(SystemExit):
        main(["tune", str(path), "--only", "1", "-o", str(tmp_path / "new.log")])
    assert capsys.readouterr().err.startswith(
        REFUSED.format(model="strange.onnx") + "tophub: error: there is no task 1"
    )


def test_what_can_be_compiled_has_no_such_key(tmp_path):
    path = tmp_path / "tasks.json"
    TaskFile(model="m", kind="llvm", shapes={}, tasks=[]).write(path)
    assert [*json.loads(path.read_text())] == ["schema_version", "model", "kind", "shapes", "tasks"]


@needs_mxnet
def test_a_shape_of_ones_own(capsys):
    _, out, _ = run(capsys, "cifar_resnet20_v1", "--shape", "data=1,3,64,48", "--json")
    assert json.loads(out)["shapes"] == {"data": [1, 3, 64, 48]}


@pytest.mark.parametrize("shape", ["1,3,224,224", "data=", "data=1x3x224x224", "data=1,,3", "data=-1,3,224,224"])
def test_a_shape_that_is_none(capsys, shape):
    code, out, err = run(capsys, "resnet18_v1", "--shape", shape)
    assert (code, out) == (2, "")
    assert "write --shape data=1,3,224,224" in err


def test_a_batch_beside_a_shape(capsys):
    code, _, err = run(capsys, "resnet18_v1", "--shape", "data=1,3,224,224", "--batch", 2)
    assert code == 2
    assert "include the batch in the shape" in err


@pytest.mark.parametrize("target", ["opencl", "llvm2"])
def test_a_target_without_templates(capsys, target):
    code, out, err = run(capsys, "resnet18_v1", "--target", target)
    assert (code, out) == (2, "")
    assert "choose one of llvm, cuda" in err


@needs_mxnet
def test_an_unknown_model(capsys, tmp_path):
    code, out, err = run(capsys, "resnet18v1", "-o", tmp_path / "tasks.json")
    assert (code, out) == (2, "")
    assert "did you mean resnet18_v1" in err
    assert list(tmp_path.iterdir()) == []


@needs_mxnet
def test_a_missing_symbol_file(capsys):
    code, out, _ = run(capsys, "nowhere-symbol.json", "--json")
    assert code == 1
    assert json.loads(out)["error"]["message"] == "no such file"
