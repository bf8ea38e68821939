"""The rules give the tasks and the very argument lists that AutoTVM writes into its logs.

The expected lists were printed by AutoTVM itself; `tests/old_client/test_extraction.py` compares whole networks.
"""

from __future__ import annotations

from dataclasses import replace

import pytest

from tophub_registry.errors import UsageError
from tophub_registry.tasks.layers import Convolution, Dense, MatrixProducts, Other, TransposedConvolution
from tophub_registry.tasks.rules import RULES, check_precision, is_own, workloads
from tophub_registry.templates.registry import instantiate


def convolution(data, kernel, *, stride=1, padding=1, dilation=1, groups=1):
    axes = len(data) - 2
    window = ((stride,) * axes, (padding,) * 2 * axes, (dilation,) * axes)
    return Convolution("layer", "convolution", data, kernel, *window, groups)


def names(layer, kind, precision="float32"):
    return [name for name, _ in workloads(layer, kind, own=precision != "float32", precision=precision)]


def tensor(*shape):
    return ["TENSOR", list(shape), "float32"]


def test_a_convolution_on_a_cpu():
    layer = convolution((1, 3, 224, 224), (64, 3, 7, 7), stride=2, padding=3)
    arguments = [tensor(1, 3, 224, 224), tensor(64, 3, 7, 7), [2, 2], [3, 3, 3, 3], [1, 1], "NCHW", "NCHW", "float32"]
    assert workloads(layer, "llvm") == [("conv2d_NCHWc.x86", arguments)]


def test_a_convolution_on_a_gpu_is_tuned_directly_and_with_winograd():
    layer = convolution((1, 64, 56, 56), (64, 64, 3, 3))
    arguments = [tensor(1, 64, 56, 56), tensor(64, 64, 3, 3), [1, 1], [1, 1, 1, 1], [1, 1], "float32"]
    assert workloads(layer, "cuda") == [("conv2d_nchw.cuda", arguments), ("conv2d_nchw_winograd.cuda", arguments)]


@pytest.mark.parametrize(
    ("kernel", "options"),
    [
        ((64, 64, 1, 1), {}),
        ((64, 64, 2, 2), {}),
        ((64, 64, 9, 9), {}),
        ((64, 64, 1, 3), {}),
        ((64, 64, 3, 3), {"stride": 2}),
        ((64, 64, 3, 3), {"dilation": 2}),
    ],
)
def test_winograd_is_for_square_kernels_without_stride_and_dilation(kernel, options):
    assert names(convolution((1, 64, 56, 56), kernel, **options), "cuda") == ["conv2d_nchw.cuda"]


@pytest.mark.parametrize("size", [3, 5, 7])
def test_winograd_is_for_kernels_of_three_to_seven(size):
    layer = convolution((1, 64, 56, 56), (64, 64, size, size))
    assert names(layer, "cuda") == ["conv2d_nchw.cuda", "conv2d_nchw_winograd.cuda"]


def test_a_template_of_our_own_is_listed_only_where_it_is_asked_for():
    layer = convolution((1, 64, 56, 56), (64, 64, 3, 3))
    (direct, arguments), *own = workloads(layer, "llvm", own=True)
    assert workloads(layer, "llvm") == [(direct, arguments)]
    assert own == [("conv2d_NCHWc_tiled.x86", arguments), ("conv2d_NCHWc_winograd.x86", arguments)]
    autotvms, (task, arguments) = workloads(layer, "cuda"), workloads(layer, "cuda", own=True)[-1]
    assert workloads(layer, "cuda", own=True) == [*autotvms, (task, arguments)]
    assert (task, arguments) == ("conv2d_nchw_tiled.cuda", autotvms[0][1])


@pytest.mark.parametrize("precision", ["float16", "tf32", "3xtf32"])
def test_another_precision_has_tasks_of_its_own_and_where_it_does_not_serve_those_of_float32(precision):
    layer = convolution((1, 64, 56, 56), (64, 64, 3, 3))
    (_, arguments), *_ = workloads(layer, "cuda")
    kinds = ["mma", "wgmma"]
    tasks = [f"conv2d_nchw_{kind}_{precision}.cuda" for kind in kinds]
    assert workloads(layer, "cuda", own=True, precision=precision) == [(task, arguments) for task in tasks]
    assert all(map(is_own, tasks))
    rows = Dense("dense", "dense", (64, 512), (1000, 512))
    assert names(rows, "cuda", precision) == [f"dense_{kind}_{precision}.cuda" for kind in kinds]
    grouped = convolution((1, 64, 56, 56), (64, 1, 3, 3), groups=64)
    assert names(grouped, "cuda", precision) == ["group_conv2d_nchw_last.cuda"]
    others = [
        convolution((1, 3, 224, 224), (64, 3, 7, 7), stride=2, padding=3, dilation=2),
        Dense("dense", "dense", (64, 510), (1000, 510)),
    ]
    for layer in others:
        assert workloads(layer, "cuda", own=True, precision=precision) == workloads(layer, "cuda", own=True)


@pytest.mark.parametrize(
    "layer",
    [
        convolution((1, 64, 6, 7), (64, 64, 3, 3)),  # 42 rows
        convolution((1, 64, 14, 14), (24, 64, 3, 3)),  # 24 columns
        convolution((1, 128, 14, 14), (64, 128, 1, 1)),  # two steps of 64 channels
        convolution((1, 3, 30, 30), (64, 3, 7, 7)),  # channels that are gathered
        Dense("dense", "dense", (197, 128), (1000, 128)),
        Dense("dense", "dense", (32, 512), (1000, 512)),
    ],
)
def test_small_products_are_left_to_single_warps(layer):
    kind = "dense" if isinstance(layer, Dense) else "conv2d_nchw"
    assert names(layer, "cuda", "float16") == [f"{kind}_mma_float16.cuda"]


@pytest.mark.parametrize(("rows", "ins"), [(1, 512), (7, 512), (1, 77), (31, 510)])
def test_weights_in_float16_take_half_as_long_to_read_even_where_tensor_cores_do_not_serve(rows, ins):
    layer = Dense("dense", "dense", (rows, ins), (1000, ins))
    task = "dense_small_batch_float16.gpu"
    assert names(layer, "cuda", "float16") == [task]
    assert is_own(task)
    for precision in ("tf32", "3xtf32"):
        served = rows > 7 and ins % 4 == 0
        in_float32 = ["dense_small_batch.gpu", *(["dense_tiled.cuda"] if rows > 1 else [])]
        assert names(layer, "cuda", precision) == ([f"dense_mma_{precision}.cuda"] if served else in_float32)


def test_a_precision_that_there_is_not_or_a_target_has_not():
    check_precision("float32", "llvm")
    check_precision("tf32", "cuda")
    with pytest.raises(UsageError, match="no such precision: 'float8'"):
        check_precision("float8", "cuda")
    with pytest.raises(UsageError, match="a target of kind llvm has no tf32"):
        check_precision("tf32", "llvm")


@pytest.mark.parametrize(
    ("kernel", "options"),
    [((64, 64, 5, 5), {}), ((64, 64, 3, 3), {"stride": 2}), ((64, 64, 3, 3), {"dilation": 2})],
)
def test_winograd_in_blocks_is_for_3x3_kernels_without_stride_and_dilation(kernel, options):
    layer = convolution((1, 64, 56, 56), kernel, **options)
    [(direct, arguments)] = workloads(layer, "llvm")
    assert workloads(layer, "llvm", own=True) == [(direct, arguments), ("conv2d_NCHWc_tiled.x86", arguments)]


@pytest.mark.parametrize("stride", [1, 2])
def test_pixels_are_one_axis_where_the_kernel_is_one_pixel_without_padding(stride):
    layer = convolution((1, 64, 56, 56), (64, 64, 1, 1), stride=stride, padding=0)
    (direct, arguments), *own = workloads(layer, "llvm", own=True)
    assert (direct, own) == ("conv2d_NCHWc.x86", [("conv2d_NCHWc_pointwise.x86", arguments)])
    padded = convolution((1, 64, 56, 56), (64, 64, 1, 1), stride=stride)
    assert [task for task, _ in workloads(padded, "llvm", own=True)] == [direct, "conv2d_NCHWc_tiled.x86"]


def test_a_depthwise_convolution():
    layer = convolution((1, 32, 112, 112), (32, 1, 3, 3), groups=32)
    window = [tensor(1, 32, 112, 112), tensor(32, 1, 3, 3), [1, 1], [1, 1, 1, 1], [1, 1]]
    assert workloads(layer, "llvm") == [("depthwise_conv2d_NCHWc.x86", [*window, "NCHW", "NCHW", "float32"])]
    assert workloads(layer, "cuda") == [("depthwise_conv2d_nchw.cuda", [*window, "float32"])]


def test_a_depthwise_convolution_with_dilation_is_tuned_on_a_gpu_only():
    layer = convolution((1, 32, 112, 112), (32, 1, 3, 3), groups=32, dilation=2)
    assert names(layer, "llvm") == []
    assert names(layer, "cuda") == ["depthwise_conv2d_nchw.cuda"]


@pytest.mark.parametrize("filters", [32, 64, 128])
def test_a_grouped_convolution_is_one_with_other_groups_than_channels(filters):
    layer = convolution((1, 64, 28, 28), (filters, 2, 3, 3), groups=32)
    window = [tensor(1, 64, 28, 28), tensor(filters, 2, 3, 3), [1, 1], [1, 1, 1, 1], [1, 1], 32, "float32"]
    assert workloads(layer, "llvm") == [("group_conv2d_nchw.x86", window)]
    assert workloads(layer, "llvm", own=True)[1:] == [("group_conv2d_NCHWc.x86", window)]
    assert workloads(layer, "cuda") == [("group_conv2d_nchw.cuda", window)]


@pytest.mark.parametrize(("groups", "tiled"), [(2, True), (4, True), (8, False)])
def test_groups_of_several_vectors_have_tiles_of_several_blocks(groups, tiled):
    layer = convolution((1, 64, 28, 28), (64, 64 // groups, 3, 3), groups=groups)
    assert ("group_conv2d_NCHWc_tiled.x86" in [task for task, _ in workloads(layer, "llvm", own=True)]) == tiled


def test_several_filters_for_each_channel_make_a_grouped_convolution():
    layer = convolution((1, 32, 28, 28), (64, 1, 3, 3), groups=32)
    assert names(layer, "llvm") == ["group_conv2d_nchw.x86"]


def test_one_channel_in_one_group_is_plain():
    assert names(convolution((1, 1, 28, 28), (1, 1, 3, 3)), "llvm") == ["conv2d_NCHWc.x86"]


def test_a_convolution_over_three_axes():
    layer = convolution((1, 3, 16, 112, 112), (64, 3, 3, 3, 3))
    arguments = [tensor(1, 3, 16, 112, 112), tensor(64, 3, 3, 3, 3), [1] * 3, [1] * 6, [1] * 3, 1, "float32"]
    assert workloads(layer, "llvm") == [("conv3d_ncdhw.x86", arguments)]
    assert workloads(layer, "cuda") == [("conv3d_ncdhw.cuda", arguments), ("conv3d_ncdhw_winograd.cuda", arguments)]


@pytest.mark.parametrize(
    ("kernel", "strides", "dilation", "winograd"),
    [
        ((3, 3, 3), (1, 1, 1), (1, 1, 1), True),
        ((1, 3, 3), (2, 1, 1), (1, 1, 1), True),
        ((3, 3, 3), (2, 1, 1), (1, 1, 1), False),  # AutoTVM has a task, and can't compute it
        ((1, 3, 3), (1, 2, 2), (1, 1, 1), False),
        ((3, 1, 1), (1, 1, 1), (1, 1, 1), False),
        ((3, 3, 3), (1, 1, 1), (2, 1, 1), False),
    ],
)
def test_winograd_over_three_axes(kernel, strides, dilation, winograd):
    layer = Convolution("", "convolution", (1, 8, 9, 14, 14), (8, 8, *kernel), strides, (1,) * 6, dilation, 1)
    tasks = workloads(layer, "cuda")
    assert [task for task, _ in tasks] == ["conv3d_ncdhw.cuda", *["conv3d_ncdhw_winograd.cuda"] * winograd]
    for task, args in tasks:
        instantiate(task, args)


def transposed(**changes):
    fields = {"strides": (2, 2), "padding": (1, 1, 1, 1), "output_padding": (0, 0), "groups": 1, **changes}
    return TransposedConvolution("layer", "transposed convolution", (1, 512, 8, 6), (512, 256, 4, 4), **fields)


def test_a_transposed_convolution_on_a_gpu():
    arguments = [tensor(1, 512, 8, 6), tensor(512, 256, 4, 4), [2, 2], [1, 1, 1, 1], "float32", [0, 0], 1]
    assert workloads(transposed(), "cuda") == [("conv2d_transpose_nchw.cuda", arguments)]


def test_a_transposed_convolution_on_a_cpu_is_the_convolution_it_amounts_to():
    spread = tensor(1, 512, 19, 15)  # 8 rows, 7 zero rows between them, 2 at both ends
    arguments = [spread, tensor(256, 512, 4, 4), [1, 1], [0, 0], [1, 1], "NCHW", "NCHW", "float32"]
    assert workloads(transposed(), "llvm") == [("conv2d_NCHWc.x86", arguments)]


def test_a_transposed_convolution_on_a_cpu_has_a_template_of_our_own():
    arguments = [tensor(1, 512, 8, 6), tensor(512, 256, 4, 4), [2, 2], [1, 1, 1, 1], "float32", [0, 0], 1]
    _, *own = workloads(transposed(), "llvm", own=True)
    assert own == [("conv2d_transpose_NCHWc.x86", arguments)]
    assert workloads(transposed(groups=2), "llvm", own=True) == []


@pytest.mark.parametrize(("precision", "vector"), [("float16", 8), ("tf32", 4), ("3xtf32", 4)])
def test_a_transposed_convolution_on_tensor_cores_has_one_group_and_channels_that_are_copied_at_once(precision, vector):
    arguments = [tensor(1, 512, 8, 6), tensor(512, 256, 4, 4), [2, 2], [1, 1, 1, 1], "float32", [0, 0], 1]
    task = f"conv2d_transpose_nchw_mma_{precision}.cuda"
    assert workloads(transposed(), "cuda", own=True, precision=precision) == [(task, arguments)]
    assert is_own(task)
    narrow = {"data": (1, vector + 2, 8, 6), "kernel": (vector + 2, 256, 4, 4)}
    for refused in (transposed(groups=2), replace(transposed(), **narrow)):
        assert names(refused, "cuda", precision) == ["conv2d_transpose_nchw.cuda"]


def test_output_padding_adds_rows_at_the_end():
    [(_, arguments)] = workloads(transposed(output_padding=(1, 0)), "llvm")
    assert arguments[0] == tensor(1, 512, 20, 15)


def test_a_transposed_convolution_in_groups_is_tuned_on_a_gpu_only():
    assert names(transposed(groups=2), "llvm") == []
    assert names(transposed(groups=2), "cuda") == ["conv2d_transpose_nchw.cuda"]


def dense(batch):
    return Dense("layer", "FullyConnected", (batch, 512), (1000, 512))


def test_a_dense_layer_is_two_tasks_on_a_cpu():
    arguments = [tensor(1, 512), tensor(1000, 512), None, "float32"]
    assert workloads(dense(1), "llvm") == [("dense_nopack.x86", arguments), ("dense_pack.x86", arguments)]


@pytest.mark.parametrize(
    ("batch", "expected"),
    [
        (1, ["dense_small_batch.gpu"]),
        (31, ["dense_small_batch.gpu"]),
        (32, ["dense_small_batch.gpu", "dense_large_batch.gpu"]),
    ],
)
def test_a_dense_layer_on_a_gpu_has_a_second_template_from_a_batch_of_32(batch, expected):
    assert names(dense(batch), "cuda") == expected


@pytest.mark.parametrize(("batch", "own"), [(1, []), (2, ["dense_tiled.x86"]), (197, ["dense_tiled.x86"])])
def test_a_dense_layer_of_several_rows_has_a_template_of_our_own(batch, own):
    theirs = ["dense_nopack.x86", "dense_pack.x86"]
    assert [name for name, _ in workloads(dense(batch), "llvm", own=True)] == [*theirs, *own]


def test_products_of_two_activations_on_a_cpu():
    layer = MatrixProducts("layer", "matrix products", (12, 197, 64), (12, 197, 64))
    arguments = [tensor(12, 197, 64), tensor(12, 197, 64), [12, 197, 197], "float32", 0, 1]
    assert workloads(layer, "llvm") == [("batch_matmul.x86", arguments)]
    assert workloads(layer, "llvm", own=True)[1:] == [("batch_matmul_tiled.x86", arguments)]


def test_products_of_two_activations_on_a_gpu():
    layer = MatrixProducts("layer", "matrix products", (12, 197, 64), (12, 197, 64))
    arguments = [tensor(12, 197, 64), tensor(12, 197, 64), [12, 197, 197], "float32", 0, 1]
    assert workloads(layer, "cuda") == [("batch_matmul.cuda", arguments)]


@pytest.mark.parametrize("kind", RULES)
def test_what_autotvm_does_not_tune_has_no_task(kind):
    assert workloads(Other("layer", "batch_dot"), kind) == []


def test_a_kind_of_target_without_rules_is_named_with_those_there_are():
    with pytest.raises(UsageError, match=r"'opencl'.*llvm, cuda"):
        workloads(dense(1), "opencl")


def test_a_transposed_convolution_of_rows_has_autotvms_task_on_a_gpu_and_none_on_a_cpu():
    layer = TransposedConvolution("layer", "transposed convolution", (1, 8, 16), (8, 4, 4), (2,), (1, 1), (1,), 1)
    arguments = [tensor(1, 8, 16), tensor(8, 4, 4), [2], [1], "float32", [1]]
    assert workloads(layer, "cuda") == [("conv1d_transpose_nchw.cuda", arguments)]
    assert workloads(layer, "llvm", own=True) == []
