"""Networks of gluoncv and symbol files become tasks: all layers, counted, with AutoTVM's arguments."""

from __future__ import annotations

import json
from collections import Counter

import numpy as np
import pytest

from tests.frontends.resnet18 import TASKS
from tophub_registry.errors import InputError, UsageError
from tophub_registry.frontends import read_model
from tophub_registry.frontends.mxnet import translation
from tophub_registry.tasks.extract import untuned

pytestmark = pytest.mark.usefixtures("mxnet")


def extract_tasks(model, kind, **how):
    return read_model(model, weightless=True, **how).tasks(kind)


def layers_of(block, kinds):
    """Count a gluon network's layers by walking its blocks, without any symbol."""
    own = Counter(type(block).__name__ for _ in [0] if type(block).__name__ in kinds)
    return sum((layers_of(child, kinds) for child in block._children.values()), own)


@pytest.fixture(scope="module")
def symbol_of(mxnet):
    def symbol(name):
        import gluoncv

        with mxnet.name.NameManager():
            return gluoncv.model_zoo.get_model(name, pretrained=False)(mxnet.sym.var("data"))

    return symbol


@pytest.fixture
def write(tmp_path):
    """Write a graph as a symbol file."""

    def written(graph):
        path = tmp_path / "net-symbol.json"
        path.write_text(graph if isinstance(graph, str) else json.dumps(graph))
        return path

    return written


@pytest.mark.parametrize(
    ("model", "convolutions"), [("resnet18_v1", 20), ("cifar_resnet20_v1", 21), ("vgg16", 13), ("mobilenet1.0", 27)]
)
def test_every_layer_of_the_network_is_counted(model, convolutions):
    import gluoncv

    counted = layers_of(gluoncv.model_zoo.get_model(model, pretrained=False), {"Conv2D", "Dense"})
    tasks = extract_tasks(model, "llvm").tasks
    assert counted["Conv2D"] == convolutions
    assert sum(task.count for task in tasks if "conv2d" in task.task) == counted["Conv2D"]
    for template in ("dense_nopack.x86", "dense_pack.x86"):
        assert sum(task.count for task in tasks if task.task == template) == counted["Dense"]


def test_resnet18_has_the_tasks_of_other_front_ends():
    assert sorted(map(str, extract_tasks("resnet18_v1", "llvm").tasks)) == TASKS


def test_a_task_names_its_layers_in_order():
    tasks = extract_tasks("resnet18_v1", "llvm").tasks
    assert all(len(task.layers) == task.count for task in tasks)
    assert len({task.workload for task in tasks}) == len(tasks) == 13
    assert tasks[1].layers == [f"resnetv10_stage1_conv{i}_fwd" for i in range(4)]


def test_the_file_of_tasks_says_what_it_is_of():
    tasks = extract_tasks("ResNet18_v1", "cuda", batch=2)
    assert (tasks.model, tasks.kind, tasks.shapes) == ("resnet18_v1", "cuda", {"data": [2, 3, 224, 224]})
    assert tasks.tasks[0].args[0] == ["TENSOR", [2, 3, 224, 224], "float32"]


def test_the_same_model_gives_the_same_file_every_time():
    assert extract_tasks("resnet18_v1", "llvm") == extract_tasks("resnet18_v1", "llvm")


def test_other_inputs_give_other_workloads():
    tasks = extract_tasks("resnet18_v1", "llvm", shapes={"data": [4, 3, 128, 96]})
    assert tasks.shapes == {"data": [4, 3, 128, 96]}
    assert tasks.tasks[-1].args[0] == ["TENSOR", [4, 512], "float32"]


@pytest.mark.parametrize("kind", ["llvm", "cuda"])
def test_a_symbol_file_gives_the_same_tasks_as_the_model(symbol_of, write, kind):
    path = write(symbol_of("mobilenetv2_1.0").tojson())
    from_file = extract_tasks(path, kind, shapes={"data": [1, 3, 224, 224]})
    assert from_file.tasks == extract_tasks("mobilenetv2_1.0", kind).tasks
    assert from_file.model == str(path)
    assert extract_tasks(str(path), kind) == from_file


def test_a_detector_is_built_without_downloading_its_base():
    network = read_model("ssd_512_resnet50_v1_voc", weightless=True)
    assert network.inputs == {"data": ((1, 3, 512, 512), "float32")}
    assert (len(network.tasks("llvm").tasks), len(network.tasks("cuda").tasks)) == (39, 55)


def test_layers_of_one_name_are_told_apart(mxnet, write):
    """Gluon gives the two convolutions of a block that is called twice the same name."""
    with mxnet.name.NameManager():
        block = mxnet.gluon.nn.Conv2D(8, 3, in_channels=8, padding=1, use_bias=False)
        once = block(mxnet.sym.var("data"))
        twice = block(mxnet.sym.Pooling(once, kernel=(2, 2), stride=(2, 2), pool_type="max"))
    tasks = extract_tasks(write(twice.tojson()), "llvm", shapes={"data": (1, 8, 16, 16)}).tasks
    assert [task.args[0][1] for task in tasks] == [[1, 8, 16, 16], [1, 8, 8, 8]]
    assert tasks[0].layers != tasks[1].layers


def test_the_outputs_of_a_node_are_told_apart(mxnet, write):
    halves = mxnet.sym.SliceChannel(mxnet.sym.var("data"), num_outputs=2)
    dense = mxnet.sym.FullyConnected(mxnet.sym.BatchNorm(halves[1]), num_hidden=5, name="dense")
    path = write(mxnet.sym.Group([halves[0], dense]).tojson())
    assert extract_tasks(path, "cuda", shapes={"data": (3, 8, 2, 2)}).tasks[0].args[0][1] == [3, 16]


def test_what_no_template_serves_is_reported(mxnet, write):
    volume = mxnet.sym.Deconvolution(mxnet.sym.var("data"), kernel=(2, 2, 2), num_filter=4, name="larger")
    layers = read_model(write(volume.tojson()), weightless=True, shapes={"data": (1, 4, 5, 5, 5)}).layers
    assert [(layer.name, layer.operator) for layer in untuned(layers, "cuda")] == [("larger", "conv3d_transpose")]


def test_a_form_that_relax_refuses_can_not_be_translated(mxnet, write, monkeypatch):
    def refused(site):
        raise ValueError(site.node.name)

    monkeypatch.setitem(translation.TRANSLATORS, "relu", refused)
    path = write(mxnet.sym.relu(mxnet.sym.var("data"), name="positive").tojson())
    network = read_model(path, weightless=True, shapes={"data": (1, 4)})
    assert network.untranslated == {"relu in a form that Relax refuses": ["positive"]}


def test_what_can_t_be_translated_is_known_before_tuning(mxnet, write):
    data = mxnet.sym.Convolution(mxnet.sym.var("data"), kernel=(3, 3), num_filter=4, name="features")
    path = write(mxnet.sym.khatri_rao(data, data, name="matched").tojson())
    network = read_model(path, weightless=True)
    assert network.untranslated == {"khatri_rao": ["matched"]}
    assert len(network.tasks("llvm").tasks) == 1
    with pytest.raises(UsageError, match=r"khatri_rao \(layers: matched\) can't be translated"):
        network.check_translated()


@pytest.mark.parametrize("name", ["CTCLoss", "softmax_cross_entropy"])
def test_a_loss_that_is_an_output_is_refused_with_the_reason(mxnet, write, name):
    loss = getattr(mxnet.sym, name)(mxnet.sym.var("data"), mxnet.sym.var("label"), name="loss")
    data = (5, 2, 7) if name == "CTCLoss" else (2, 7)
    network = read_model(write(loss.tojson()), shapes={"data": data, "label": (2, 3)[: len(data) - 1]}, weightless=True)
    assert network.untranslated == {f"{name} that only training needs": ["loss"]}


def test_an_operator_written_in_python_is_refused_by_its_name(mxnet, write):
    with pytest.raises(InputError, match=r"net-symbol.json: its operator 'proposal_target' is written in Python"):
        extract_tasks(write(custom("proposal_target")), "llvm", shapes={"data": (1, 3)})

    class Known(mxnet.operator.CustomOpProp):
        """An operator whose shapes MXNet can infer, which is no help."""

    mxnet.operator.register("known_here")(Known)
    network = read_model(write(custom("known_here")), shapes={"data": (1, 3)}, weightless=True)
    assert [*network.untranslated] == ["Custom of the type known_here, which is written in Python"]


def custom(kind):
    data = {"op": "null", "name": "data", "inputs": []}
    node = {"op": "Custom", "name": "own", "attrs": {"op_type": kind}, "inputs": [[0, 0, 0]]}
    version = {"mxnet_version": ["int", 10901]}
    return {"nodes": [data, node], "arg_nodes": [0], "heads": [[1, 0, 0]], "attrs": version}


def test_an_unknown_model_is_refused_with_those_it_could_be():
    with pytest.raises(UsageError, match=r"no model 'resnet18v1' \(did you mean resnet18_v1 or"):
        extract_tasks("resnet18v1", "llvm")


@pytest.mark.parametrize("model", ["mobilenet1.0_int8", "ssd_512_resnet50_v1_custom"])
def test_a_model_that_has_no_tasks_is_refused(model):
    with pytest.raises(UsageError, match=model):
        extract_tasks(model, "llvm")


@pytest.mark.parametrize(
    ("shapes", "message"),
    [
        ({"image": (1, 3, 224, 224)}, r"no input 'image' \(its inputs: data\)"),
        ({"data": (3, 224)}, "data=3,224 does not fit the network.*resnetv10_conv0_fwd"),
        ({"data": (1, 3, 0, 0)}, "can't have the shape 1,3,0,0"),
        ({"data": ()}, "can't have the shape"),
    ],
)
def test_inputs_that_do_not_fit(shapes, message, capfd):
    with pytest.raises(UsageError, match=message):
        extract_tasks("resnet18_v1", "llvm", shapes=shapes)
    assert capfd.readouterr() == ("", "")


def test_inputs_that_leave_shapes_open(mxnet, write):
    both = mxnet.sym.Convolution(mxnet.sym.var("left"), kernel=(3, 3), num_filter=4) + mxnet.sym.Convolution(
        mxnet.sym.var("right"), kernel=(3, 3), num_filter=4
    )
    path = write(both.tojson())
    with pytest.raises(
        UsageError, match=r"left=1,3,8,8 does not determine all shapes \(give shapes for more of the inputs right\)"
    ):
        extract_tasks(path, "llvm", shapes={"left": (1, 3, 8, 8)})
    assert len(extract_tasks(path, "llvm", shapes={"left": (1, 3, 8, 8), "right": (1, 5, 8, 8)}).tasks) == 2


@pytest.mark.parametrize("how", ["reshape", "part", "both"])
def test_a_label_that_is_computed_is_not_asked_for(mxnet, write, how):
    F, data, label = mxnet.sym, mxnet.sym.var("data"), mxnet.sym.var("softmax_label")
    dense = F.FullyConnected(F.Reshape(data, shape=(-1, 4)), num_hidden=3, name="pred")
    flat = F.Reshape(label, shape=(-1,)) if how == "reshape" else F.split(label, num_outputs=2, squeeze_axis=True)[1]
    losses = [F.SoftmaxOutput(dense, flat, name="softmax")]
    if how == "both":
        losses.append(F.LinearRegressionOutput(F.sum(dense, axis=1), F.Reshape(label, shape=(-1,)), name="error"))
    path = write(F.Group(losses).tojson())

    model = read_model(path, shapes={"data": (2, 5, 4)}, weightless=True)
    assert [*model.inputs] == ["data"]
    (first, *_) = model.reference(np.ones((2, 5, 4), "float32"))
    np.testing.assert_allclose(first, np.full((10, 3), 1 / 3), rtol=1e-6)
    with pytest.raises(UsageError, match=r"no input 'label' \(its inputs: data"):
        read_model(path, shapes={"label": (10,)}, weightless=True)


def test_a_label_whose_shape_is_given_stays(mxnet, write):
    F, label = mxnet.sym, mxnet.sym.var("softmax_label")
    loss = F.SoftmaxOutput(F.FullyConnected(mxnet.sym.var("data"), num_hidden=3), F.Reshape(label, shape=(-1,)))
    shapes = {"data": (6, 4), "softmax_label": (2, 3)}
    assert read_model(write(loss.tojson()), shapes=shapes, weightless=True).inputs.keys() == shapes.keys()


def test_two_variables_of_one_name_are_refused(mxnet, write):
    layers = [mxnet.sym.FullyConnected(mxnet.sym.var("data"), num_hidden=3) for _ in range(2)]
    with pytest.raises(UsageError, match="2 variables are named 'data'"):
        read_model(write(mxnet.sym.Group(layers).tojson()), shapes={"data": [1, 4]}, weightless=True)


def test_a_missing_file(tmp_path):
    with pytest.raises(InputError, match="no such file"):
        extract_tasks(tmp_path / "net-symbol.json", "llvm")


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", "{}", '{"nodes": []}', '{"nodes": 3}', '{"nodes": [{}], "heads": []}', "[" * 100_000, "\0", "é"],
)
def test_a_file_that_is_no_symbol(write, text):
    path = write(text)
    with pytest.raises(InputError, match=r"net-symbol.json(:1)?: (the file is empty|not an MXNet symbol file)"):
        extract_tasks(path, "llvm")


@pytest.mark.parametrize(
    "change",
    [
        {"op": "Nope"},
        {"inputs": [[99999, 0, 0]]},
        {"inputs": "x"},
        {"attrs": {}},
        {"attrs": {"kernel": "(a)", "num_filter": "3"}},
    ],
)
def test_a_symbol_with_a_falsified_node(symbol_of, write, change):
    graph = json.loads(symbol_of("cifar_resnet20_v1").tojson())
    next(node for node in graph["nodes"] if node["op"] == "Convolution").update(change)
    with pytest.raises(InputError, match="not an MXNet symbol file"):
        extract_tasks(write(graph), "llvm", shapes={"data": (1, 3, 32, 32)})


def test_a_symbol_that_names_an_output_which_is_not_there(symbol_of, write):
    graph = json.loads(symbol_of("cifar_resnet20_v1").tojson())
    next(node for node in graph["nodes"] if node["op"] == "Convolution")["inputs"][0] = [0, 7, 0]
    with pytest.raises((InputError, UsageError)):
        extract_tasks(write(graph), "llvm", shapes={"data": (1, 3, 32, 32)})


def test_no_weights_are_downloaded_for_a_base_network(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")  # nothing answers there
    assert len(extract_tasks("resnet18_v1b_kinetics400", "llvm").tasks) == 13
    assert not [*tmp_path.iterdir()]


def test_a_network_with_two_inputs_has_both_by_default():
    tasks = extract_tasks("siamrpn_alexnet_v2_otb15", "cuda")
    assert tasks.shapes == {"template": [1, 3, 127, 127], "search": [1, 3, 287, 287]}
    # Each input gives its features by its own layers, and those of one are the kernels of the other's.
    correlations = [task for task in tasks.tasks if task.task == "depthwise_conv2d_nchw.cuda"]
    assert [(task.count, task.args[:2]) for task in correlations] == [
        (2, [["TENSOR", [1, 256, 24, 24], "float32"], ["TENSOR", [256, 1, 4, 4], "float32"]])
    ]


def test_one_of_two_inputs_can_have_another_shape():
    with pytest.raises(UsageError, match="depthwisexcorr1_reshape0' can't reshape"):
        extract_tasks("siamrpn_alexnet_v2_otb15", "cuda", shapes={"search": (1, 3, 255, 255)})


@pytest.mark.parametrize("how", ["cast", "declared", "weights"])
def test_a_symbol_in_float16_is_refused(mxnet, write, how):
    data = mxnet.sym.var("data", **({"dtype": "float16"} if how == "declared" else {}))
    weight = mxnet.sym.var("w", **({"dtype": "float16"} if how == "weights" else {}))
    image = mxnet.sym.cast(data, dtype="float16") if how == "cast" else data
    network = mxnet.sym.Convolution(image, weight, kernel=(3, 3), num_filter=4, no_bias=True, name="layer")
    with pytest.raises(
        UsageError, match=r"net-symbol.json: the layer 'layer' computes in float16.*--precision float16"
    ):
        extract_tasks(write(network.tojson()), "cuda")


def test_a_block_in_float16_is_refused(mxnet):
    block = mxnet.gluon.nn.Conv2D(4, 3)
    block.initialize()
    block.cast("float16")
    with pytest.raises(UsageError, match="computes in float16"):
        read_model(block)
