"""The same numbers: every template's kernels against MXNet, over some configs of each workload."""

import math
import random

import numpy as np
import pytest

from tests.conftest import some
from tests.templates.test_cuda import padded
from tophub_registry.errors import InputError
from tophub_registry.frontends.mxnet import libraries
from tophub_registry.records.target import Target
from tophub_registry.records.task import tensor
from tophub_registry.tasks.layers import TransposedConvolution
from tophub_registry.tasks.rules import workloads
from tophub_registry.templates.registry import TEMPLATES, instantiate

tvm = pytest.importorskip("tvm", reason="needs the extra [tune]")

AVX512 = Target.parse("llvm -mcpu=x86-64-v4")


@pytest.fixture
def count(exhaustive):
    """How many configs of a workload are built; half as many for Winograd."""
    return 20 if exhaustive else 8


def conv2d(data, kernel, stride=1, padding=(0, 0, 0, 0), dilation=1):
    args = [tensor(data), tensor(kernel), [stride] * 2, list(padding), [dilation] * 2, "NCHW", "NCHW", "float32"]
    return "conv2d_NCHWc.x86", args


def depthwise(data, kernel, *rest, **window):
    _, args = conv2d(data, [data[1], 1, *kernel], *rest, **window)
    return "depthwise_conv2d_NCHWc.x86", args


def dilated(*args, **window):
    return "depthwise_conv2d_NCHWc_dilated.x86", depthwise(*args, **window)[1]


def grouped(groups, data, kernel, stride=1, padding=(0, 0, 0, 0), dilation=1):
    window = [[stride] * 2, list(padding), [dilation] * 2]
    return "group_conv2d_nchw.x86", [tensor(data), tensor(kernel), *window, groups, "float32"]


def volumetric(data, kernel, strides=(1, 1, 1), padding=(0,) * 6, dilation=(1, 1, 1)):
    window = [list(each) for each in (strides, padding, dilation)]
    return "conv3d_ncdhw.x86", [tensor(data), tensor(kernel), *window, data[1] // kernel[1], "float32"]


def blocked(args):
    return "group_conv2d_NCHWc.x86", args[1]


def tiled_groups(args):
    return "group_conv2d_NCHWc_tiled.x86", args[1]


def winograd(channels, size, filters, padding=(1, 1, 1, 1), batch=1):
    _, args = conv2d([batch, channels, *size], [filters, channels, 3, 3], 1, padding)
    return "conv2d_NCHWc_winograd.x86", args


def pointwise(data, filters, stride=1):
    _, args = conv2d(data, [filters, data[1], 1, 1], stride)
    return "conv2d_NCHWc_pointwise.x86", args


def tiled(*args, **window):
    return "conv2d_NCHWc_tiled.x86", conv2d(*args, **window)[1]


def transposed(data, kernel, stride=2, padding=(1, 1, 1, 1), extra=(0, 0)):
    strides = [stride] * 2 if isinstance(stride, int) else list(stride)
    return "conv2d_transpose_NCHWc.x86", [
        *(tensor(data), tensor(kernel), strides, list(padding), "float32", list(extra), 1)
    ]


def dense(kind, batch, in_units, out_units):
    return f"dense_{kind}.x86", [tensor([batch, in_units]), tensor([out_units, in_units]), None, "float32"]


def batched(kind, batch, rows, in_units, columns, transposed=(0, 1)):
    data = [in_units, rows] if transposed[0] else [rows, in_units]
    kernel = [columns, in_units] if transposed[1] else [in_units, columns]
    tensors = tensor([batch, *data]), tensor([batch, *kernel])
    return f"batch_matmul{kind}.x86", [*tensors, [batch, rows, columns], "float32", *transposed]


WORKLOADS = {
    "resnet18's 3x3": conv2d([1, 64, 56, 56], [64, 64, 3, 3], 1, (1, 1, 1, 1)),
    "resnet18's 3x3 with stride": conv2d([1, 128, 28, 28], [256, 128, 3, 3], 2, (1, 1, 1, 1)),
    "resnet18's 1x1 with stride": conv2d([1, 64, 56, 56], [128, 64, 1, 1], 2),
    "resnet18's first": conv2d([1, 3, 224, 224], [64, 3, 7, 7], 2, (3, 3, 3, 3)),
    "pointwise, seven by seven": pointwise([1, 32, 7, 7], 64),
    "pointwise, strided": pointwise([1, 64, 28, 28], 96, 2),
    "pointwise, odd sizes": pointwise([2, 6, 13, 17], 10),
    "pointwise, odd sizes, strided": pointwise([2, 10, 13, 18], 6, 3),
    "pointwise, one pixel": pointwise([1, 48, 1, 1], 24),
    "tiled, resnet18's last": tiled([1, 64, 7, 7], [96, 64, 3, 3], 1, (1, 1, 1, 1)),
    "tiled, with stride": tiled([1, 64, 28, 28], [32, 64, 3, 3], 2, (1, 1, 1, 1)),
    "tiled, the first layer": tiled([1, 3, 62, 58], [32, 3, 7, 7], 2, (3, 3, 3, 3)),
    "tiled convolution, odd sizes, a batch": tiled([2, 6, 13, 17], [10, 6, 3, 3], 1, (1, 1, 1, 1)),
    "tiled, uneven padding": tiled([1, 32, 11, 12], [24, 32, 3, 5], 1, (0, 2, 1, 1)),
    "tiled, dilated": tiled([1, 8, 20, 23], [8, 8, 3, 3], 1, (2, 2, 2, 2), dilation=2),
    "tiled, a single row": tiled([1, 48, 1, 17], [16, 48, 1, 7], 1, (0, 3, 0, 3)),
    "tiled, 1x1, padded": tiled([1, 16, 9, 9], [16, 16, 1, 1], 1, (1, 1, 1, 1)),
    "simple_pose's transposed": transposed([1, 64, 8, 6], [64, 32, 4, 4]),
    "transposed, odd sizes, a batch": transposed([2, 6, 13, 11], [6, 10, 3, 3]),
    "transposed, output padding": transposed([1, 6, 5, 9], [6, 10, 3, 5], (3, 2), (1, 0, 1, 0), (2, 1)),
    "transposed, without overlap": transposed([1, 16, 9, 7], [16, 24, 2, 2], 2, (0, 0, 0, 0)),
    "transposed, gaps": transposed([1, 12, 5, 7], [12, 8, 1, 2], (2, 3), (0, 0, 0, 0), (1, 2)),
    "transposed, uneven padding": transposed([1, 8, 7, 10], [8, 12, 5, 4], (2, 3), (0, 3, 2, 1)),
    "transposed, cut beyond the kernel": transposed([1, 4, 9, 9], [4, 3, 3, 2], 2, (5, 6, 0, 2)),
    "transposed, one pixel": transposed([1, 5, 1, 1], [5, 7, 3, 3], 5, (0, 0, 0, 0)),
    "transposed, stride 1": transposed([1, 8, 11, 7], [8, 12, 3, 3], 1),
    "mobilenet's 1x1": conv2d([1, 64, 28, 28], [96, 64, 1, 1]),
    "odd sizes": conv2d([1, 6, 13, 17], [10, 6, 3, 3], 1, (1, 1, 1, 1)),
    "odd sizes, 1x1": conv2d([2, 6, 13, 17], [10, 6, 1, 1]),
    "uneven padding": conv2d([1, 4, 11, 12], [8, 4, 3, 5], 1, (0, 2, 1, 1)),
    "dilated": conv2d([1, 8, 20, 23], [8, 8, 3, 3], 1, (2, 2, 2, 2), dilation=2),
    "mobilenet's depthwise": depthwise([1, 32, 112, 112], [3, 3], 1, (1, 1, 1, 1)),
    "mobilenet's depthwise with stride": depthwise([1, 32, 56, 56], [3, 3], 2, (1, 1, 1, 1)),
    "mobilenet's last depthwise": depthwise([1, 96, 7, 7], [3, 3], 1, (1, 1, 1, 1)),
    "depthwise, odd sizes, a batch": depthwise([2, 15, 13, 18], [5, 3], 1, (2, 2, 1, 1)),
    "depthwise, uneven padding": depthwise([1, 12, 11, 35], [3, 3], 2, (0, 1, 2, 1)),
    "depthwise, dilated": depthwise([1, 24, 20, 23], [3, 3], 1, (2, 2, 2, 2), dilation=2),
    "lraspp's dilated depthwise": dilated([1, 96, 33, 33], [5, 5], 1, (4, 4, 4, 4), dilation=2),
    "dilated depthwise, widely": dilated([1, 30, 17, 21], [5, 5], 1, (8, 8, 8, 8), dilation=4),
    "dilated depthwise, unpadded": dilated([2, 18, 17, 23], [3, 2], 1, dilation=3),
    "dilated depthwise with stride": dilated([1, 16, 28, 28], [3, 3], 2, (2, 2, 2, 2), dilation=2),
    "dilated depthwise, uneven padding": dilated([1, 15, 13, 18], [3, 3], 1, (0, 2, 3, 1), dilation=2),
    "depthwise, unpadded": depthwise([1, 18, 17, 70], [3, 2]),
    "se_resnext50's 3x3": grouped(32, [1, 128, 56, 56], [128, 4, 3, 3], 1, (1, 1, 1, 1)),
    "se_resnext50's 3x3 with stride": grouped(32, [1, 256, 56, 56], [256, 8, 3, 3], 2, (1, 1, 1, 1)),
    "se_resnext50's last 3x3": grouped(32, [1, 512, 7, 7], [512, 16, 3, 3], 1, (1, 1, 1, 1)),
    "groups, odd sizes, a batch": grouped(3, [2, 18, 13, 17], [30, 6, 5, 3], 1, (2, 2, 1, 1)),
    "groups, uneven padding": grouped(2, [1, 12, 11, 36], [36, 6, 3, 3], 2, (0, 1, 2, 1)),
    "groups, dilated": grouped(4, [1, 24, 20, 25], [32, 6, 3, 3], 1, (2, 2, 2, 2), dilation=2),
    "groups, 1x1": grouped(4, [1, 32, 14, 18], [48, 8, 1, 1]),
    "blocked groups, four channels each": blocked(grouped(16, [1, 64, 14, 14], [64, 4, 3, 3], 1, (1, 1, 1, 1))),
    "blocked groups, wide": blocked(grouped(4, [1, 128, 14, 14], [128, 32, 3, 3], 2, (1, 1, 1, 1))),
    "blocked groups, dilated, a batch": blocked(grouped(4, [2, 48, 13, 17], [16, 12, 3, 3], 1, (2, 2, 2, 2), 2)),
    "blocked groups, uneven padding": blocked(grouped(2, [1, 24, 11, 18], [32, 12, 3, 3], 2, (0, 1, 2, 1))),
    "pixels, seven blocks two at a time": pointwise([1, 32, 9, 9], 56),
    "pixels, five blocks, strided": pointwise([1, 16, 13, 13], 40, 2),
    "tiled, seven blocks two at a time": tiled([1, 16, 10, 10], [56, 16, 3, 3], 1, (1, 1, 1, 1)),
    "pixels, channels in uneven parts": pointwise([1, 736, 7, 7], 96),
    "tiled, channels in uneven parts": tiled([1, 104, 7, 7], [64, 104, 3, 3], 1, (1, 1, 1, 1)),
    "tiled groups, channels in uneven parts": tiled_groups(
        grouped(2, [1, 208, 7, 7], [96, 104, 3, 3], 1, (1, 1, 1, 1))
    ),
    "tiled, seven blocks, few pixels": tiled([1, 256, 3, 3], [56, 256, 3, 3], 1, (1, 1, 1, 1)),
    "tiled groups": tiled_groups(grouped(4, [1, 64, 14, 14], [128, 16, 3, 3], 1, (1, 1, 1, 1))),
    "tiled groups, few pixels": tiled_groups(grouped(2, [1, 96, 5, 5], [192, 48, 3, 3], 1, (1, 1, 1, 1))),
    "tiled groups, dilated, a batch": tiled_groups(grouped(3, [2, 36, 13, 17], [48, 12, 3, 3], 2, (2, 1, 2, 3), 2)),
    "tiled groups, uneven padding": tiled_groups(grouped(2, [1, 24, 11, 18], [32, 12, 3, 3], 2, (0, 1, 2, 1))),
    "tiled groups, 1x1": tiled_groups(grouped(4, [1, 32, 14, 18], [64, 8, 1, 1])),
    "blocked groups, 1x1": blocked(grouped(4, [1, 32, 14, 18], [64, 8, 1, 1])),
    "c3d's": volumetric([1, 64, 4, 14, 14], [64, 64, 3, 3, 3], padding=(1,) * 6),
    "c3d's first": volumetric([1, 3, 8, 28, 28], [32, 3, 3, 3, 3], (1, 2, 2), (1,) * 6),
    "volumes, odd sizes, a batch": volumetric([2, 5, 7, 11, 13], [10, 5, 3, 1, 2], (2, 1, 3), (1, 0, 2, 0, 1, 1)),
    "volumes, dilated": volumetric([1, 6, 9, 11, 18], [24, 6, 3, 3, 3], (1, 1, 1), (1, 2, 2, 1, 2, 2), (1, 2, 2)),
    "volumes, 1x1": volumetric([1, 32, 4, 7, 7], [48, 32, 1, 1, 1]),
    "volumes, groups": volumetric([1, 12, 5, 9, 12], [16, 3, 3, 3, 3], (1, 2, 1), (1,) * 6),
    "volumes, depthwise": volumetric([1, 48, 4, 9, 14], [48, 1, 3, 3, 3], padding=(1,) * 6),
    "winograd, resnet18's": winograd(64, (56, 56), 64),
    "winograd, few pixels": winograd(64, (7, 7), 96),
    "winograd, odd sizes, a batch": winograd(6, (13, 17), 10, batch=2),
    "winograd, the first layer": winograd(3, (30, 22), 32),
    "winograd, uneven padding": winograd(12, (11, 30), 24, (0, 2, 1, 3)),
    "winograd, unpadded": winograd(16, (18, 9), 8, (0, 0, 0, 0)),
    "resnet18's dense, unpacked": dense("nopack", 1, 512, 100),
    "resnet18's dense, packed": dense("pack", 1, 512, 100),
    "a batch, unpacked": dense("nopack", 6, 90, 20),
    "a batch, packed": dense("pack", 12, 60, 36),
    "odd units, unpacked": dense("nopack", 9, 77, 35),
    "odd units, packed": dense("pack", 9, 77, 35),
    "prime units, unpacked": dense("nopack", 4, 74, 62),
    "prime units, packed": dense("pack", 4, 74, 62),
    "few outputs, unpacked": dense("nopack", 8, 256, 6),
    "few outputs, packed": dense("pack", 8, 256, 6),
    "tiled, a prime number of rows": dense("tiled", 197, 96, 160),
    "tiled, one row": dense("tiled", 1, 512, 100),
    "tiled, odd units": dense("tiled", 23, 77, 101),
    "tiled, few outputs": dense("tiled", 49, 64, 3),
    "tiled, a single number": dense("tiled", 1, 1, 1),
    "a vision transformer's scores": batched("", 3, 49, 32, 49),
    "a vision transformer's values": batched("", 3, 49, 49, 32, (0, 0)),
    "products, the first factor transposed": batched("", 2, 12, 24, 20, (1, 0)),
    "products, both transposed": batched("", 2, 18, 12, 18, (1, 1)),
    "products, one row": batched("", 5, 1, 40, 30),
    "tiled products, a vision transformer's scores": batched("_tiled", 3, 49, 32, 49),
    "tiled products, its values": batched("_tiled", 3, 49, 49, 32, (0, 0)),
    "tiled products, the first factor transposed": batched("_tiled", 2, 13, 24, 21, (1, 0)),
    "tiled products, both transposed": batched("_tiled", 2, 17, 11, 64, (1, 1)),
    "tiled products, one row": batched("_tiled", 5, 1, 40, 3),
}


def reference(task, args, inputs):
    mx = libraries.mxnet()
    data, weight = map(mx.nd.array, inputs)
    if task.startswith("batch_matmul"):
        return mx.nd.batch_dot(data, weight, transpose_a=bool(args[4]), transpose_b=bool(args[5])).asnumpy()
    if task.startswith("dense"):
        return mx.nd.FullyConnected(data, weight, no_bias=True, num_hidden=weight.shape[0], flatten=False).asnumpy()
    _, _, strides, padding, *rest = args
    if "transpose" in task:
        top, left, bottom, right = padding
        full = mx.nd.Deconvolution(
            data,
            weight,
            no_bias=True,
            kernel=weight.shape[2:],
            num_filter=weight.shape[1],
            stride=strides,
            adj=rest[1],
        ).asnumpy()
        return full[:, :, top : full.shape[2] - bottom, left : full.shape[3] - right]
    dilation, *_ = rest
    data = padded(data, padding)
    kernel = weight.shape[2:]
    return mx.nd.Convolution(
        data,
        weight,
        no_bias=True,
        kernel=kernel,
        num_filter=weight.shape[0],
        num_group=data.shape[1] // weight.shape[1],
        stride=strides,
        dilate=dilation,
    ).asnumpy()


def leaves_tail(template, config):
    return any(
        knob.kind == "sp" and template.space.knobs[place].extent % math.prod(knob.value[1:])
        for place, knob in enumerate(config.entity)
    )


def cheap(config):
    """A config whose kernel is no wall of unrolled code, which takes the compiler many seconds."""
    unrolled = [knob.value[-1] for knob in config.entity if knob.name in ("tile_k", "tile_y", "tile_x", "tile_inner")]
    return math.prod(unrolled) <= 4096


def sample(template, count):
    """Return a workload's configs to try, half of them with tails where the space has any, and the default."""
    order = random.Random(template.task).sample(range(len(template.space)), min(1000, len(template.space)))
    configs = [c for c in map(template.space.config, order) if cheap(c) and template.feasible(c, AVX512)]
    if "winograd" in template.task:
        count //= 2
    tails = [config for config in configs if leaves_tail(template, config)][: count // 2]
    others = [config for config in configs if config not in tails][: count - len(tails)]
    assert len(tails + others) == (min(count, len(configs)) if len(order) == len(template.space) else count)
    return [template.default(Target.parse("llvm -mcpu=x86-64-v3")), *tails, *others]


def check(template, inputs, expected, count):
    """Build and run a sample of a workload's configs, and compare what they compute."""
    target = tvm.target.Target({"kind": "llvm", "mcpu": str(tvm.target.codegen.llvm_get_system_cpu())})
    for config in sample(template, count):
        kernel = tvm.compile(template.kernel(config), target=target)
        packed = [np.ascontiguousarray(array) for array in template.pack(config, inputs)]
        *given, out = template.tensors(config)
        assert [array.shape for array in packed] == [t.shape for t in given]
        output = tvm.runtime.tensor(np.full(out.shape, np.nan, out.dtype))
        kernel["main"](*map(tvm.runtime.tensor, packed), output)
        np.testing.assert_allclose(
            template.unpack(config, output.numpy()), expected, rtol=1e-4, atol=1e-3, err_msg=str(config)
        )


@pytest.mark.slow
@pytest.mark.parametrize("name", some([*WORKLOADS], 24))
def test_every_config_computes_what_mxnet_computes(name, count):
    task, args = WORKLOADS[name]
    rng = np.random.default_rng(7)
    inputs = [rng.uniform(-1, 1, argument[1]).astype("float32") for argument in args[:2]]
    check(instantiate(task, args), inputs, reference(task, args, inputs), count)


TRANSPOSED = {
    "simple_pose's": TransposedConvolution(
        "up", "Deconvolution", (1, 64, 8, 6), (64, 32, 4, 4), (2, 2), (1, 1, 1, 1), (0, 0), 1
    ),
    "uneven, with output padding": TransposedConvolution(
        "up", "Deconvolution", (2, 6, 5, 9), (6, 10, 3, 5), (3, 2), (1, 0, 1, 0), (2, 1), 1
    ),
    "fcn's, stride 1": TransposedConvolution(
        "up", "Deconvolution", (1, 8, 11, 7), (8, 12, 3, 3), (1, 1), (1, 1, 1, 1), (0, 0), 1
    ),
}


def as_convolution(layer, data, weight):
    """Bring a transposed convolution's inputs into the form of the convolution as which AutoTVM extracts it."""
    n, c, *size = data.shape
    (top, left), (below, right) = (
        tuple(k - 1 - p + extra for k, p, extra in zip(weight.shape[2:], layer.padding[:2], more, strict=True))
        for more in ((0, 0), layer.output_padding)
    )
    height, width = ((length - 1) * stride + 1 for length, stride in zip(size, layer.strides, strict=True))
    spread = np.zeros((n, c, top + height + below, left + width + right), data.dtype)
    spread[:, :, top : top + height : layer.strides[0], left : left + width : layer.strides[1]] = data
    return [spread, weight.transpose(1, 0, 2, 3)[:, :, ::-1, ::-1]]


@pytest.mark.parametrize("name", TRANSPOSED)
def test_a_transposed_convolution_computes_what_mxnets_deconvolution_computes(name, count):
    layer = TRANSPOSED[name]
    [(task, args)] = workloads(layer, "llvm")
    assert (task, args[3]) == ("conv2d_NCHWc.x86", [0, 0])
    rng = np.random.default_rng(7)
    data, weight = (rng.uniform(-1, 1, shape).astype("float32") for shape in (layer.data, layer.kernel))
    mx = libraries.mxnet()
    expected = mx.nd.Deconvolution(
        mx.nd.array(data),
        mx.nd.array(weight),
        kernel=layer.kernel[2:],
        num_filter=layer.kernel[1],
        stride=layer.strides,
        pad=layer.padding[:2],
        adj=layer.output_padding,
        no_bias=True,
    ).asnumpy()
    inputs = as_convolution(layer, data, weight)
    assert [list(array.shape) for array in inputs] == [argument[1] for argument in args[:2]]
    check(instantiate(task, args), inputs, expected, count)


def test_blocks_that_do_not_divide_a_group_are_refused():
    template = instantiate(*grouped(4, [1, 24, 8, 8], [32, 6, 3, 3]))
    for ic, oc in ((4, 8), (12, 8), (6, 16), (24, 32)):
        values = {"tile_ic": [-1, ic], "tile_oc": [-1, oc], "tile_ow": [-1, 1], "unroll_kw": True}
        config = template.space.config_of(values)
        assert config.index >= 0  # AutoTVM's space has it all the same
        assert not template.feasible(config, AVX512)
        with pytest.raises(InputError, match="do not divide a group's"):
            template.schedule(config)


def test_every_template_for_cpus_is_covered():
    for task in (task for task in TEMPLATES if task.endswith(".x86")):
        assert sum(task == name for name, _ in WORKLOADS.values()) >= 5, task
