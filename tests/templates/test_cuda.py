"""The templates for CUDA, as far as no GPU is needed: what they and their kernels compute, and that these compile.

On a device many more configs are checked by `tests/gpu/check_numerics.py`.
"""

import math
import random
import re
import shutil
from itertools import chain

import numpy as np
import pytest

from tests.conftest import sample, some
from tests.gpu.workloads import (
    WORKLOADS,
    channels_last,
    conv1d,
    conv2d,
    conv3d,
    deformable,
    half_dense,
    transposed,
)
from tophub_registry.errors import InputError
from tophub_registry.frontends.mxnet import libraries
from tophub_registry.records.speed_limit import on_matrix_units
from tophub_registry.records.target import Target
from tophub_registry.records.task import tensor
from tophub_registry.templates.mma import PRECISIONS
from tophub_registry.templates.registry import TEMPLATES, instantiate

tvm = pytest.importorskip("tvm", reason="needs the extra [tune]")

ARCH = "sm_90a"
CONFIGS = 3
TASKS = sorted(task for task in TEMPLATES if task.endswith((".cuda", ".gpu")))


def names(workload):
    task, args = workload
    return f"{task} {args[0][1]} {args[1][1]}"


TRIED = sample(WORKLOADS, [task for task, _ in WORKLOADS], 1)
"""One workload of each task, which is tried where not all are."""


def cases(workloads):
    """Return parameters of which `make test` takes those of `TRIED`."""
    return [pytest.param(each, marks=[pytest.mark.exhaustive] * (each not in TRIED)) for each in workloads]


@pytest.fixture(params=cases(WORKLOADS), ids=names)
def workload(request):
    return request.param


def random_inputs(args):
    rng = np.random.default_rng(7)
    tensors = [arg for arg in args if isinstance(arg, list) and arg[0] == "TENSOR"]
    return [rng.uniform(-1, 1, shape).astype(dtype) for _, shape, dtype in tensors]


def wider(inputs, dtype):
    return [array.astype(dtype) for array in inputs]


def as_images(task, args, inputs):
    """Return what MXNet computes for images in its own layout: it pads no others."""
    if "conv1d_transpose" in task:
        _, _, stride, padding, _, extra = args
        window = [1, *stride], [0, padding[0], 0, padding[-1]], None, [0, *extra], 1
        rows = [array[:, :, None] for array in inputs]
        return mxnets("conv2d_transpose_nchw.cuda", [*args[:2], *window], rows)[:, :, 0]
    if "conv1d" in task:
        _, _, stride, (left, right), dilation, *_ = args
        window = [1, *stride], [0, left, 0, right], [1, *dilation]
        rows = [array[:, :, None] for array in inputs]
        return mxnets("conv2d_nchw.cuda", [*args[:2], *window], rows)[:, :, 0]
    data, weight = inputs
    turned = [data.transpose(0, 3, 1, 2), weight.transpose(3, 2, 0, 1)]
    return mxnets("conv2d_nchw.cuda", args, turned).transpose(0, 2, 3, 1)


def mxnets(task, args, inputs):
    if "nhwc" in task or "conv1d" in task:
        return as_images(task, args, inputs)
    mx = libraries.mxnet()
    if task.startswith("deformable"):
        return deformed(args, *map(mx.nd.array, inputs))
    data, weight = map(mx.nd.array, inputs)
    if task.startswith("batch_matmul"):
        transposed = dict(zip(("transpose_a", "transpose_b"), map(bool, args[4:]), strict=True))
        return mx.nd.batch_dot(data, weight, **transposed).asnumpy()
    if task.startswith("dense"):
        return mx.nd.FullyConnected(data, weight, no_bias=True, num_hidden=weight.shape[0], flatten=False).asnumpy()
    kernel = weight.shape[2:]
    if task.startswith("conv2d_transpose"):
        _, _, strides, (top, left, bottom, right), _, extra, groups = args
        whole = mx.nd.Deconvolution(
            data,
            weight,
            no_bias=True,
            kernel=kernel,
            num_filter=weight.shape[1] * groups,
            stride=strides,
            adj=extra,
            num_group=groups,
        ).asnumpy()
        return whole[:, :, top : whole.shape[2] - bottom, left : whole.shape[3] - right]
    _, _, strides, padding, dilation, *_ = args
    groups = data.shape[1] // weight.shape[1]
    data = padded(data, padding)
    return mx.nd.Convolution(
        data,
        weight,
        no_bias=True,
        kernel=kernel,
        num_filter=weight.shape[0],
        stride=strides,
        dilate=dilation,
        num_group=groups,
    ).asnumpy()


def padded(data, padding):
    axes = len(padding) // 2
    ends = chain((0, 0, 0, 0), *zip(padding[:axes], padding[axes:], strict=True))
    return libraries.mxnet().nd.pad(data, mode="constant", pad_width=tuple(ends))


def deformed(args, data, offset, weight):
    *_, strides, padding, dilation, shared, _, _ = args
    assert padding[2:] == padding[:2]  # MXNet pads both ends alike
    window = {"stride": strides, "pad": padding[:2], "dilate": dilation, "num_deformable_group": shared}
    convolve = libraries.mxnet().nd.contrib.DeformableConvolution
    shape = {"kernel": weight.shape[2:], "num_filter": weight.shape[0]}
    return convolve(data, offset, weight, no_bias=True, **shape, **window).asnumpy()


def computable(template, config):
    """Return whether a config says what to compute; some of tensor cores divide sums unevenly."""
    return "mma" not in template.task or template.possible(config)


def test_the_computation_and_the_reference_are_mxnets(workload):
    task, args = workload
    template = instantiate(task, args)
    inputs = random_inputs(args)
    whole = wider(inputs, "float32")
    expected = mxnets(task, args, whole)
    np.testing.assert_allclose(template.workload.reference(whole), expected, rtol=1e-4, atol=1e-3)
    indices = reversed(range(len(template.space)))
    config = next(config for config in map(template.space.config, indices) if computable(template, config))
    function = tvm.te.create_prim_func(template.computation(config)).with_attr("global_symbol", "main")
    kernel = tvm.compile(tvm.IRModule({"main": function}), target=tvm.target.Target("llvm"))
    *given, out = template.tensors(config)
    packed = [np.ascontiguousarray(array) for array in template.pack(config, inputs)]
    assert [array.shape for array in packed] == [t.shape for t in given]
    output = tvm.runtime.tensor(np.full(out.shape, np.nan, out.dtype))
    kernel["main"](*map(tvm.runtime.tensor, packed), output)
    computed = template.unpack(config, output.numpy())
    if on_matrix_units(task) or "float16" in task:  # float16 rounds the factors, or even the sums
        assert np.abs(computed - expected).max() < template.tolerance * np.abs(expected).max()
    else:
        np.testing.assert_allclose(computed, expected, rtol=1e-3, atol=1e-3)


def drawn(template):
    """Return a few configs that a device would take, and that are no walls of unrolled code to the compiler."""
    rng = random.Random(template.task)
    part = template.space.where({"auto_unroll_max_step": 0, "unroll_explicit": 0}).where({"auto_unroll_max_step": 64})
    configs = []
    for index in rng.choices(range(len(part)), k=1000):
        config = part.config(index)
        limits = template.limits(config)
        unrolled = config.value("tile_k")[1] if template.task == "dense_large_batch.gpu" else 1
        if template.possible(config) and limits.sums * unrolled <= 64 and config not in configs:
            configs.append(config)
    return configs[:CONFIGS]


def compiled(template, config):
    """Return a config's kernels as TVM compiles them."""
    target = tvm.target.Target({"kind": "cuda", "arch": ARCH})
    with tvm.transform.PassContext(opt_level=3, config=dict(template.pass_config)):
        return tvm.compile(template.schedule(config).mod, target=target).mod


def sources(template, config):
    """Return the CUDA source of a config's kernels."""
    return compiled(template, config).imports[0].inspect_source()


@pytest.fixture(scope="module")
def computed(exhaustive, request):
    """Run a kernel of each workload, or of a sample, in one process; return each with template, config and inputs.

    Only of the tasks whose tests are run.
    """
    from tests.gpu.cuda_on_cpu import Launch, run_kernels

    name = test_what_kernels_compute_is_the_reference.__name__
    tasks = {item.callspec.params["task"] for item in request.session.items if item.originalname == name}
    templates = [instantiate(*workload) for workload in (WORKLOADS if exhaustive else TRIED) if workload[0] in tasks]
    inputs = [random_inputs(template.args) for template in templates]
    configs = [drawn(template)[0] for template in templates]
    launches = []
    for template, config, arrays in zip(templates, configs, inputs, strict=True):
        packed = [np.ascontiguousarray(array) for array in template.pack(config, arrays)]
        launches.append(Launch(template.schedule(config).mod["main"], packed, [tuple(template.tensors(config)[-1])]))
    return list(zip(templates, configs, inputs, run_kernels(launches), strict=True))


@pytest.mark.slow
@pytest.mark.parametrize("task", TASKS)
def test_what_kernels_compute_is_the_reference(task, computed):
    of_task = [each for each in computed if each[0].task == task]
    assert of_task
    for template, config, arrays, output in of_task:
        expected = template.workload.reference(wider(arrays, "float64"))
        error = np.abs(template.unpack(config, output) - expected).max() / max(1, np.abs(expected).max())
        assert error < template.tolerance, config


IN_STEPS = [
    conv2d("conv2d_nchw", [1, 6, 2, 5], [8, 6, 1, 1]),
    conv2d("group_conv2d_nchw", [1, 6, 2, 5], [8, 3, 1, 1]),
    transposed([1, 6, 2, 5], [6, 8, 1, 1], 1, (0, 0, 0, 0)),
    conv1d([1, 6, 5], [8, 6, 1]),
    conv3d("", [1, 6, 2, 2, 5], [8, 6, 1, 1, 1]),
    deformable([1, 6, 2, 5], [8, 6, 1, 1]),
]


def test_data_that_few_threads_copy_are_replaced_when_all_have_read_them():
    """TVM takes `threadIdx.x`, by which five threads write and twenty read, for one thread, and would not wait."""
    from tests.gpu.cuda_on_cpu import Launch, run_kernels

    launches, references = [], []
    for task, args in IN_STEPS:
        template, inputs = instantiate(task, args), random_inputs(args)
        values = {knob.name: knob.value for knob in template.space.config(0).entity}
        config = template.space.config_of({**values, "tile_f": [-1, 1, 4, 1], "tile_x": [-1, 1, 5, 1]})
        launches.append(Launch(template.schedule(config).mod["main"], inputs, [tuple(template.tensors(config)[-1])]))
        references.append(template.workload.reference(wider(inputs, "float64")))
    for (task, _), output, expected in zip(IN_STEPS, run_kernels(launches), references, strict=True):
        np.testing.assert_allclose(output, expected, rtol=1e-4, atol=1e-5, err_msg=task)


@pytest.mark.slow
def test_tiles_of_all_shapes_compute_the_right_thing():
    """Of both types of sums and both layouts of weights, in several warps, with several tiles each."""
    from tests.gpu.cuda_on_cpu import Launch, run_kernels

    sides = {"block_row_warps": 2, "block_col_warps": 2, "warp_row_tiles": 2, "warp_col_tiles": 2}
    launches, templates = [], []
    for out in ("float16", "float32"):
        for task, args in (
            half_dense(128, 64, 128, out),
            channels_last([128, 2, 3, 32], [2, 2, 32, 128], dtypes=("float16", out)),
        ):
            template = instantiate(task, args)
            inputs = random_inputs(args)
            for rows in (16, 8, 32):
                values = {**sides, "chunk": 2, "offset": 8, "offsetCS": 8, "vec": 4, "vector_width": 4, "wmma_m": rows}
                config = template.space.config_of(values)
                assert template.feasible(config, Target.parse("cuda"))
                kernel = template.schedule(config).mod["main"]
                launches.append(Launch(kernel, inputs, [tuple(template.tensors(config)[-1])]))
                templates.append(template)
    for template, launch, output in zip(templates, launches, run_kernels(launches), strict=True):
        expected = template.workload.reference(wider(launch.inputs, "float64"))
        tolerance = 1e-5 if output.dtype == "float32" else template.tolerance
        assert np.abs(output - expected).max() < tolerance * np.abs(expected).max()


GROUPS = [  # tile_m, tile_n, groups_n, split_k, stages, raster
    (128, 128, 2, 2, 3, 1),
    (256, 64, 1, 1, 5, 0),
    (64, 256, 2, 4, 3, 0),
    (128, 256, 1, 1, 4, 1),
    (64, 64, 1, 2, 3, 0),
]


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["float16", "tf32", "3xtf32"])
def test_warpgroups_of_all_shapes_compute_the_right_thing(precision):
    from tests.gpu.cuda_on_cpu import Launch, run_kernels

    channels = 128 if precision == "float16" else 64  # twice what a step adds up
    template = instantiate(
        *conv2d(f"conv2d_nchw_wgmma_{precision}", [1, channels, 12, 11], [200, channels, 2, 3], 1, (1, 1, 1, 1))
    )
    names = ("tile_m", "tile_n", "groups_n", "split_k", "stages", "raster")
    configs = [template.space.config_of(dict(zip(names, values, strict=True))) for values in GROUPS]
    configs = [config for config in configs if template.possible(config)]
    assert len(configs) == (3 if precision == "3xtf32" else 5)  # whose weights take twice the memory
    inputs = random_inputs(template.args)
    launches = []
    for config in configs:
        packed = [np.ascontiguousarray(array) for array in template.pack(config, inputs)]
        launches.append(Launch(template.schedule(config).mod["main"], packed, [tuple(template.tensors(config)[-1])]))
    right = template.workload.reference(wider(inputs, "float64"))
    for config, output in zip(configs, run_kernels(launches), strict=True):
        error = np.abs(template.unpack(config, output) - right).max() / np.abs(right).max()
        assert error < template.tolerance, config


def test_only_hopper_has_instructions_of_warpgroups():
    template = instantiate(*conv2d("conv2d_nchw_wgmma_tf32", [1, 64, 14, 14], [64, 64, 3, 3], 1, (1, 1, 1, 1)))
    hopper, others = Target.parse("cuda -arch=sm_90"), [Target.parse(f"cuda -arch=sm_{each}") for each in (80, 100)]
    config = template.default(hopper)
    assert template.runs_on(hopper)
    assert template.feasible(config, hopper)
    for target in others:
        assert not template.runs_on(target)
        assert not template.feasible(config, target)


@pytest.mark.parametrize(
    ("tile_m", "tile_n", "stages", "later"),
    [(64, 64, 3, True), (128, 128, 4, True), (128, 64, 3, False), (256, 64, 4, False), (64, 256, 3, False)],
)
def test_sums_are_collected_later_where_registers_allow_that_with_as_many_blocks(tile_m, tile_n, stages, later):
    template = instantiate(*conv2d("conv2d_nchw_wgmma_3xtf32", [1, 512, 60, 60], [512, 512, 1, 1]))
    values = {"tile_m": tile_m, "tile_n": tile_n, "groups_n": 1, "split_k": 1, "stages": stages, "raster": 0}
    config = template.space.config_of(values)
    assert template.collects_later(config) is later
    assert (f'func_call("tophub_wgmma_3xtf32_collect_{tile_n}"' in template.schedule(config).mod.script()) is later


OVERLAPPING = [  # tile_m, tile_n, tile_k in vectors, warps along both sides, parts, stages
    (32, 32, 2, (2, 1), 1, 4),
    (64, 32, 4, (2, 2), 2, 3),  # as many steps as stages
    (32, 32, 4, (1, 2), 1, 6),  # the same
    (16, 16, 8, (1, 1), 1, 3),  # the same
]


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["float16", "tf32", "3xtf32"])
def test_products_that_overlap_copies_take_the_right_data(precision):
    from tests.gpu.cuda_on_cpu import Launch, run_kernels

    vector = PRECISIONS[precision].vector
    task, args = conv2d(f"conv2d_nchw_mma_{precision}", [1, 8 * vector, 7, 6], [40, 8 * vector, 1, 3], 1, (0, 1, 0, 1))
    template, inputs = instantiate(task, args), random_inputs(args)
    launches, configs = [], []
    for m, n, k, (warps_m, warps_n), parts, stages in OVERLAPPING:
        tile = {"tile_m": m, "tile_n": n, "tile_k": k * vector, "warps_m": warps_m, "warps_n": warps_n, "raster": 0}
        config = template.space.config_of({**tile, "split_k": parts, "stages": stages})
        assert template.possible(config), config
        packed = [np.ascontiguousarray(array) for array in template.pack(config, inputs)]
        launches.append(Launch(template.schedule(config).mod["main"], packed, [tuple(template.tensors(config)[-1])]))
        configs.append(config)
    expected = template.workload.reference(wider(inputs, "float64"))
    for config, output in zip(configs, run_kernels(launches), strict=True):
        error = np.abs(template.unpack(config, output) - expected).max() / np.abs(expected).max()
        assert error < template.tolerance, config


def test_a_step_on_tensor_cores_needs_one_barrier():
    task, args = conv2d("conv2d_nchw_mma_float16", [1, 64, 28, 28], [64, 64, 3, 3], 1, (1, 1, 1, 1))
    template = instantiate(task, args)
    values = {k.name: k.value for k in template.default(Target.parse("cuda")).entity}
    assert values["stages"] == 3
    code = sources(template, template.space.config_of({**values, "split_k": 1}))
    (loop,) = re.findall(r"^  for \(int step.*?^  }", code, re.DOTALL | re.MULTILINE)
    assert loop.count("__syncthreads();") == 1
    assert loop.rindex("tophub_add") < loop.index("tophub_copy(")
    # The sums are written where other warps may still read the last step's data.
    assert re.search(r"tophub_add_float16\([^;]*;\s*__syncthreads\(\);\s*tophub_store\(", code)


def test_tf32_rounds_weights_to_the_nearest_and_keeps_what_is_not_finite():
    tiny = 2.0**-11
    numbers = np.array([1, 1 + tiny, -1 - tiny, 1 + tiny * 0.99, np.inf, -np.inf, np.nan], "float32")
    rounded = np.array([1, 1 + 2 * tiny, -1 - 2 * tiny, 1, np.inf, -np.inf, np.nan], "float32")
    np.testing.assert_array_equal(PRECISIONS["tf32"].rounded(numbers), rounded)
    np.testing.assert_array_equal(PRECISIONS["3xtf32"].rounded(numbers), numbers)


def test_3xtf32_keeps_what_is_not_a_number():
    from tests.gpu.cuda_on_cpu import Launch, run_kernels

    template = instantiate(*conv2d("conv2d_nchw_mma_3xtf32", [1, 16, 4, 4], [16, 16, 1, 1]))
    config = next(c for c in map(template.space.config, range(len(template.space))) if template.possible(c))
    data, weight = random_inputs(template.args)
    data.view("uint32")[0, 3, 1, 2] = 0x7FFFFFFF  # what a GPU computes for 0 / 0, and overflows when rounded up
    packed = [np.ascontiguousarray(array) for array in template.pack(config, [data, weight])]
    launch = Launch(template.schedule(config).mod["main"], packed, [tuple(template.tensors(config)[-1])])
    output = template.unpack(config, run_kernels([launch])[0])
    undefined = np.zeros((4, 4), bool)
    undefined[1, 2] = True
    np.testing.assert_array_equal(np.isnan(output), np.broadcast_to(undefined, output.shape))


def args_groups(template):
    """Return how many groups a transposed or grouped convolution has."""
    return getattr(template.workload, "groups", 1) if "depthwise" not in template.task else 1


@pytest.mark.slow
def test_limits_are_those_of_the_kernel(workload):
    template = instantiate(*workload)
    for config in drawn(template):
        module, limits = compiled(template, config), template.limits(config)
        kernels = re.split("__global__", module.imports[0].inspect_source())
        arrays = [re.findall(r"__shared__ [^;]*float(\d?) \w+\[(\d+)\];", kernel) for kernel in kernels]
        shared = [sum(int(lanes or 1) * int(size) for lanes, size in its) for its in arrays]
        if on_matrix_units(template.task):  # its size is given to the launch
            assert re.search(rf"i(32|64) {limits.shared_bytes}\b", module.inspect_source("ll")), config
        elif args_groups(template) > 1 and template.workload.batch > 1:
            continue  # TVM sees too little of what the fused virtual threads over images and groups read
        elif template.task.startswith("dense_small_batch") or args_groups(template) > 1:
            assert 4 * max(shared) <= limits.shared_bytes, config
        elif template.task == "conv2d_transpose_nchw.cuda":  # TVM sometimes keeps a little more than it reads
            assert limits.shared_bytes <= 4 * max(shared) <= 1.3 * limits.shared_bytes, config
        else:
            assert 4 * max(shared) == limits.shared_bytes, config
        bounds = [re.match(r" void __launch_bounds__\((\d+)\)", kernel) for kernel in kernels[1:]]
        assert math.prod(limits.threads) in [int(bound[1]) if bound else 1 for bound in bounds], config


@pytest.mark.parametrize("precision", ["float16", "tf32", "3xtf32"])
def test_tensor_cores_need_a_gpu_that_has_them_and_channels_that_are_copied_at_once(precision):
    task = f"conv2d_nchw_mma_{precision}.cuda"
    template = instantiate(*next(workload for workload in WORKLOADS if workload[0] == task))
    default = template.default(Target.parse("cuda -model=h100"))
    assert template.feasible(default, Target.parse("cuda -model=h100"))
    assert template.feasible(default, Target.parse("cuda"))  # which may be any
    assert not template.feasible(default, Target.parse("cuda -arch=sm_75"))
    data, kernel = tensor([1, 3, 14, 14]), tensor([64, 3, 3, 3])
    assert instantiate(task, [data, kernel, [1, 1], [1, 1, 1, 1], [2, 1], "float32"]).reads_plain
    with pytest.raises(InputError, match="channels are no multiple of"):
        instantiate(task, [data, kernel, [1, 1], [1, 1, 1, 1], [1, 2], "float32"])


@pytest.mark.parametrize("precision", ["float16", "tf32", "3xtf32"])
def test_a_transposed_convolution_on_tensor_cores_has_one_group_and_channels_that_are_copied_at_once(precision):
    for channels, groups, reason in ((10, 1, "its 10 input channels are no multiple of"), (16, 2, "it has 2 groups")):
        task, args = transposed([1, channels, 7, 9], [channels, 8, 4, 4], groups=groups, kind=f"_mma_{precision}")
        with pytest.raises(InputError, match=reason):
            instantiate(task, args)


def dense_of(data, weight, out_dtype):
    return "dense_tensorcore.cuda", [tensor([16, 64], data), tensor([32, 64], weight), None, out_dtype]


REFUSED = {
    "filters": (channels_last([8, 7, 7, 16], [3, 3, 16, 48]), "(8, 16, 48) are no multiples of (16, 16, 16) or"),
    "channels": (channels_last([16, 7, 7, 24], [3, 3, 24, 16]), "(16, 24, 16) are no multiples"),
    "a single row": (half_dense(1, 64, 32, "float16"), "(1, 64, 32) are no multiples"),
    "bytes": (dense_of("int8", "int8", "int32"), "its data and weights are int8, not float16"),
    "whole numbers": (dense_of("float16", "float16", "int32"), "its output is int32, not float16 or float32"),
    "float32": (dense_of("float32", "float32", "float32"), "its data and weights are float32, not float16"),
    "two types": (dense_of("float16", "float32", "float16"), "types of data and weight do not fit"),
    "none transposed": (
        ("batch_matmul_tensorcore.cuda", [*[tensor([2, 16, 16], "float16")] * 2, None, None, 0, 0]),
        "only the second factor must be transposed",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_autotvms_tensor_cores_take_float16_in_multiples_of_their_tiles(name):
    (task, args), reason = REFUSED[name]
    with pytest.raises(InputError, match=re.escape(reason)) as raised:
        instantiate(task, args)
    assert len(str(raised.value).splitlines()) == 1


def test_autotvms_tensor_cores_need_a_gpu_that_has_them():
    template = instantiate(*next(workload for workload in WORKLOADS if workload[0] == "dense_tensorcore.cuda"))
    default = template.default(Target.parse("cuda"))
    assert template.feasible(default, Target.parse("cuda -arch=sm_70"))
    assert not template.feasible(default, Target.parse("cuda -arch=sm_61"))


def test_no_gpu_has_a_block_for_each_pixel_of_a_huge_image():
    for width, possible in ((255, True), (256, False)):
        template = instantiate(*channels_last([8, 257, width, 16], [1, 1, 16, 32]))
        config = template.space.config(0)
        assert template.possible(config) == template.feasible(config, Target.parse("cuda")) == possible


def test_what_is_too_large_is_known_beforehand():
    template = instantiate(*next(workload for workload in WORKLOADS if workload[0] == "conv2d_nchw.cuda"))
    values = {k.name: k.value for k in template.space.config(0).entity}
    assert template.limits(template.space.config(0)).possible
    many_threads = template.space.config_of({**values, "tile_f": [-1, 1, 64, 1], "tile_x": [-1, 1, 28, 1]})
    assert not template.limits(many_threads).possible
    much_memory = template.space.config_of(
        {**values, "tile_rc": [-1, 64], "tile_f": [-1, 64, 1, 1], "tile_rx": [-1, 3]}
    )
    assert template.limits(much_memory).shared_bytes == 4 * (64 * 3 + 64 * 64 * 3)
    assert not template.limits(much_memory).possible


@pytest.mark.parametrize(
    ("task", "args"),
    [
        ("conv2d_nchw.cuda", [tensor((1000, 4, 3, 3)), tensor((128, 4, 1, 1)), [1, 1], [0] * 4, [1, 1]]),
        ("depthwise_conv2d_nchw.cuda", [tensor((600, 128, 3, 3)), tensor((128, 1, 3, 3)), [1, 1], [1] * 4, [1, 1]]),
        ("conv3d_ncdhw.cuda", [tensor((700, 4, 2, 3, 3)), tensor((96, 4, 1, 1, 1)), [1] * 3, [0] * 3, [1] * 3, 1]),
    ],
)
def test_a_grid_has_no_more_blocks_than_any_gpu_takes(task, args):
    template = instantiate(task, [*args, "float32"])
    values = {k.name: k.value for k in template.space.config(0).entity}
    assert not template.limits(template.space.config_of({**values, "tile_f": [-1, 1, 1, 1]})).possible
    assert template.limits(template.space.config_of({**values, "tile_f": [-1, 2, 1, 1]})).possible
    suggested = template.suggestion(Target.parse("cuda"))
    assert template.feasible(suggested, Target.parse("cuda"))


def test_products_lie_along_z_and_are_not_too_many():
    args = [tensor((70000, 4, 8)), tensor((70000, 4, 8))]
    template = instantiate("batch_matmul.cuda", args)
    assert not template.limits(template.space.config(0)).possible


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("nvcc") is None, reason="needs nvcc, the CUDA compiler")
@pytest.mark.parametrize("task", some(TASKS, 5))
def test_random_configs_compile_for_cuda(task):
    from tvm.support.nvcc import compile_cuda

    template = instantiate(*next(workload for workload in WORKLOADS if workload[0] == task))
    with tvm.target.Target({"kind": "cuda", "arch": ARCH}):
        for config in (template.default(Target.parse("cuda")), *drawn(template)):
            assert compile_cuda(sources(template, config), target_format="ptx", arch=ARCH, compiler="nvcc"), config


def test_every_template_is_covered():
    for task in TASKS:
        assert sum(task == name for name, _ in WORKLOADS) >= 5, task
