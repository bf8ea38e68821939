"""What no record covers computes the same after it is scheduled, and runs in parallel or on the GPU."""

from __future__ import annotations

import importlib.util

import pytest

if not importlib.util.find_spec("tvm"):
    pytest.skip("TVM is not installed", allow_module_level=True)

import numpy as np
import tvm
from tvm import relax, s_tir, te, tirx

from tests.compiler.writes import writes
from tests.gpu.cuda_on_cpu import run_module, run_modules
from tophub_registry.compiler import schedules
from tophub_registry.compiler.schedules import schedule_all
from tophub_registry.errors import UsageError

CPU = tvm.target.Target("llvm")
GPU = tvm.target.Target(
    {"kind": "cuda", "arch": "sm_90", "max_num_threads": 1024, "thread_warp_size": 32}, host={"kind": "llvm"}
)


def scheduled(compute, shapes, target) -> tvm.IRModule:
    """Return a function of the arguments, fused as a model is and scheduled."""
    builder = relax.BlockBuilder()
    arguments = [relax.Var(f"x{i}", relax.TensorType(shape, "float32")) for i, shape in enumerate(shapes)]
    with builder.function("main", arguments):
        with builder.dataflow():
            output = builder.emit_output(compute(builder, *arguments))
        builder.emit_func_output(output)
    with target:
        fused = tvm.transform.Sequential(
            [
                relax.transform.LegalizeOps(),
                relax.transform.AnnotateTIROpPattern(),
                relax.transform.FuseOps(),
                relax.transform.FuseTIR(),
                relax.transform.DeadCodeElimination(),
            ]
        )(builder.get())
    return schedule_all(fused, target, [])


def noise(shapes) -> list[np.ndarray]:
    generator = np.random.default_rng(0)
    return [generator.standard_normal(shape, dtype="float32") for shape in shapes]


def windows(data: np.ndarray, size: int, stride: int, padding: int, fill: float) -> np.ndarray:
    """Return `[batch, chunk, y, x, size, size, lane]` of `[batch, chunk, y, x, lane]`."""
    sides = [(0, 0), (0, 0), (padding, padding), (padding, padding), (0, 0)]
    padded = np.pad(data, sides, constant_values=fill)
    found = np.lib.stride_tricks.sliding_window_view(padded, (size, size), axis=(2, 3))
    return np.moveaxis(found[:, :, ::stride, ::stride], 4, -1)


def max_pool(_, x):
    return relax.op.nn.max_pool2d(x, (3, 3), strides=(2, 2), padding=(1, 1, 1, 1), layout="NCHW16c")


def max_pool_by_hand(x):
    return windows(x, 3, 2, 1, -np.inf).max(axis=(4, 5))


def average_pool(_, x):
    return relax.op.nn.avg_pool2d(x, (3, 3), strides=(1, 1), padding=(1, 1, 1, 1), layout="NCHW16c")


def average_pool_by_hand(x):
    return windows(x, 3, 1, 1, 0).sum(axis=(4, 5)) / windows(np.ones_like(x), 3, 1, 1, 0).sum(axis=(4, 5))


def plain(builder, x):
    """Take a layer's output out of its blocks of channels."""
    batch, chunks, height, width, lanes = map(int, x.ty.shape)
    moved = builder.emit(relax.op.permute_dims(x, [0, 1, 4, 2, 3]))
    flat = builder.emit(relax.op.reshape(moved, (batch, chunks * lanes, height, width)))
    return relax.op.nn.relu(flat)


def plain_by_hand(x):
    batch, _, height, width, _ = x.shape
    return np.maximum(x.transpose(0, 1, 4, 2, 3).reshape(batch, -1, height, width), 0)


def narrower(builder, x):
    """Put channels in blocks of 16 into blocks of 12."""
    batch, _, height, width, _ = map(int, x.ty.shape)
    flat = builder.emit(plain(builder, x))
    blocks = builder.emit(relax.op.reshape(flat, (batch, -1, 12, height, width)))
    return relax.op.permute_dims(blocks, [0, 1, 3, 4, 2])


def narrower_by_hand(x):
    batch, _, height, width, _ = x.shape
    return plain_by_hand(x).reshape(batch, -1, 12, height, width).transpose(0, 1, 3, 4, 2)


def softmax_by_hand(x):
    powers = np.exp(x - x.max(axis=-1, keepdims=True))
    return powers / powers.sum(axis=-1, keepdims=True)


def normal(_, x, scale, shift):
    return relax.op.nn.layer_norm(x, scale, shift, axes=[-1])


def normal_by_hand(x, scale, shift):
    centred = x - x.mean(axis=-1, keepdims=True)
    return centred / np.sqrt(centred.var(axis=-1, keepdims=True) + 1e-5) * scale + shift


ROWS = {
    "softmax": (lambda _, x: relax.op.nn.softmax(x), [(1, 300, 21)]),
    "layer_norm": (normal, [(1, 300, 96), (96,), (96,)]),
}
FAMILIES = {
    "max pooling": (max_pool, [(1, 4, 33, 33, 16)], max_pool_by_hand),
    "average pooling": (average_pool, [(1, 2, 8, 8, 16)], average_pool_by_hand),
    "global mean": (lambda _, x: relax.op.mean(x, axis=[2, 3]), [(1, 64, 7, 7)], lambda x: x.mean(axis=(2, 3))),
    "mean of channels last": (
        lambda _, x: relax.op.mean(x, axis=[2, 3], keepdims=True),
        [(2, 1, 9, 11, 21)],
        lambda x: x.mean(axis=(2, 3), keepdims=True),
    ),
    "something of a mean of channels last": (
        lambda builder, x: relax.op.sigmoid(builder.emit(relax.op.mean(x, axis=[2, 3], keepdims=True))),
        [(1, 1, 30, 31, 40)],
        lambda x: 1 / (1 + np.exp(-x.mean(axis=(2, 3), keepdims=True))),
    ),
    "softmax": (lambda _, x: relax.op.nn.softmax(x), [(1, 300, 21)], softmax_by_hand),
    "softmax of whole vectors": (lambda _, x: relax.op.nn.softmax(x), [(2, 30, 64)], softmax_by_hand),
    "softmax of another axis": (
        lambda _, x: relax.op.nn.softmax(x, axis=1),
        [(3, 21, 40)],
        lambda x: softmax_by_hand(x.swapaxes(1, 2)).swapaxes(1, 2),
    ),
    "logarithm of softmax": (
        lambda _, x: relax.op.nn.log_softmax(x),
        [(7, 1000)],
        lambda x: np.log(softmax_by_hand(x)),
    ),
    "normalization": (normal, [(1, 17, 768), (768,), (768,)], normal_by_hand),
    "normalization of odd rows": (normal, [(2, 5, 9, 7), (7,), (7,)], normal_by_hand),
    "normalization of several axes": (
        lambda _, x, scale, shift: relax.op.nn.layer_norm(x, scale, shift, axes=[-2, -1]),
        [(4, 6, 8), (6, 8), (6, 8)],
        lambda x, scale, shift: normal_by_hand(x.reshape(4, 48), scale.ravel(), shift.ravel()).reshape(x.shape),
    ),
    "concatenation": (
        lambda _, x, y: relax.op.concat([x, y], axis=1),
        [(1, 24, 14, 14), (1, 40, 14, 14)],
        lambda x, y: np.concatenate([x, y], axis=1),
    ),
    "transposition": (
        lambda _, x: relax.op.permute_dims(x, [0, 2, 3, 1]),
        [(1, 24, 16, 16)],
        lambda x: x.transpose(0, 2, 3, 1),
    ),
    "change of layout": (plain, [(1, 4, 14, 14, 16)], plain_by_hand),
    "change of blocks": (narrower, [(1, 3, 14, 14, 16)], narrower_by_hand),
    "padding": (
        lambda _, x: relax.op.nn.pad(x, [0, 0, 0, 100, 0, 0], pad_value=-1),
        [(1, 400, 6)],
        lambda x: np.pad(x, [(0, 0), (0, 100), (0, 0)], constant_values=-1),
    ),
    "product": (lambda _, x, y: relax.op.matmul(x, y), [(1, 512), (512, 40)], lambda x, y: x @ y),
    "one axis of one": (lambda _, x: relax.op.exp(x), [(1,)], np.exp),
}


@pytest.mark.parametrize("family", FAMILIES)
def test_it_computes_the_same_on_a_processor(family):
    compute, shapes, by_hand = FAMILIES[family]
    inputs = noise(shapes)

    machine = relax.VirtualMachine(tvm.compile(scheduled(compute, shapes, CPU), target=CPU), tvm.cpu())
    found = machine["main"](*map(tvm.runtime.tensor, inputs)).numpy()

    np.testing.assert_allclose(found, by_hand(*inputs), rtol=1e-4, atol=1e-5)


@pytest.fixture(scope="module")
def on_gpu():
    """Run all families in one process, and return the output of each; TVM refuses what no thread of a GPU does."""
    programs = [(scheduled(compute, shapes, GPU), noise(shapes)) for compute, shapes, _ in FAMILIES.values()]
    return dict(zip(FAMILIES, run_modules(programs), strict=True))


@pytest.mark.slow
@pytest.mark.parametrize("family", FAMILIES)
def test_it_computes_the_same_on_a_gpu(family, on_gpu):
    _, shapes, by_hand = FAMILIES[family]

    (found,) = on_gpu[family]

    np.testing.assert_allclose(found, by_hand(*noise(shapes)), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("size", [8, 35])
def test_on_a_gpu_one_thread_sums_up_a_small_window(size):
    shape = (1, 2, size, size)
    (data,) = noise([shape])

    def mean(_, x):
        return relax.op.nn.avg_pool2d(x, (3, 3), padding=(1, 1, 1, 1))

    module = scheduled(mean, [shape], GPU)
    (found,) = run_module(module, [data])

    expected = average_pool_by_hand(data[..., None])[..., 0]
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)
    assert {write.along("threadIdx") for write in writes(module)} == {128}


def test_on_a_gpu_many_threads_sum_up_a_few_columns():
    def mean(_, x):
        return relax.op.mean(x, axis=[2, 3], keepdims=True)

    module = scheduled(mean, [(1, 1, 56, 56, 256)], GPU)
    assert {(write.along("blockIdx"), write.along("threadIdx")) for write in writes(module)} >= {(32, 1024)}


def test_on_a_gpu_two_sums_in_a_kernel_do_not_mix():
    (data,) = noise([(12, 3, 3)])

    def mean_for_each_positive(a):
        i, j = te.reduce_axis((0, 3)), te.reduce_axis((0, 3))
        total = te.compute((12,), lambda n: te.sum(a[n, i, j], axis=[i, j]))
        positive = te.compute((12,), lambda n: te.sum(tirx.Cast("float32", a[n, i, j] > 0), axis=[i, j]))
        return te.compute((12,), lambda n: total[n] / te.max(positive[n], tirx.const(1.0, "float32")))

    module = scheduled(lambda builder, x: builder.call_te(mean_for_each_positive, x), [data.shape], GPU)
    (found,) = run_module(module, [data])

    expected = data.sum(axis=(1, 2)) / np.maximum(1, (data > 0).sum(axis=(1, 2)))
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


def uneven_means(data, sizes):
    """Return the means of windows of different sizes, one along each axis after the other."""
    for axis, size in enumerate(sizes, 2):
        length = data.shape[axis]
        bounds = [(part * length // size, -(-(part + 1) * length // size)) for part in range(size)]
        means = [data.take(range(*each), axis).mean(axis, keepdims=True) for each in bounds]
        data = np.concatenate(means, axis)
    return data


@pytest.mark.parametrize(
    ("operator", "shape", "sizes"),
    [
        ("adaptive_avg_pool1d", (2, 3, 11), (4,)),
        ("adaptive_avg_pool2d", (1, 5, 8, 32), (3, 6)),
        ("adaptive_avg_pool2d", (1, 5, 8, 32), (2, 16)),
        ("adaptive_avg_pool3d", (1, 2, 5, 7, 8), (2, 3, 5)),
    ],
)
def test_on_a_gpu_windows_of_different_sizes_have_a_thread_each(operator, shape, sizes):
    (data,) = noise([shape])

    def pool(_, x):
        return getattr(relax.op.nn, operator)(x, sizes)

    module = scheduled(pool, [shape], GPU)
    (found,) = run_module(module, [data])

    np.testing.assert_allclose(found, uneven_means(data, sizes), rtol=1e-4, atol=1e-5)
    assert all(write.is_in("blockIdx.x") for write in writes(module))


def test_what_no_rule_can_schedule_for_a_gpu_is_refused(monkeypatch):
    monkeypatch.setattr(schedules.Nested, "apply", lambda *_: None)
    with pytest.raises(UsageError, match="adaptive_avg_pool2d has no schedule for a GPU"):
        scheduled(lambda _, x: relax.op.nn.adaptive_avg_pool2d(x, (3, 6)), [(1, 5, 8, 32)], GPU)


def test_what_was_scheduled_by_hand_is_left_alone():
    a = te.placeholder((64,), name="a")
    sch = s_tir.Schedule(te.create_prim_func([a, te.compute((64,), lambda i: a[i] + 1, name="b")]))
    assert not schedules._is_scheduled(sch.mod["main"])
    sch.bind(sch.get_loops(sch.get_sblock("b"))[0], "threadIdx.x")
    assert schedules._is_scheduled(sch.mod["main"])


def test_a_window_s_padding_is_written_row_by_row():
    module = scheduled(max_pool, [(1, 4, 64, 64, 16)], CPU)

    text = module["max_pool2d"].script()
    assert text.count("T.parallel(") == 1
    assert text.index("T.parallel(") < text.index('T.sblock("pad_temp")') < text.index('T.sblock("pool_max_init")')


def test_what_is_dear_is_computed_once():
    function = scheduled(lambda _, x: relax.op.nn.softmax(x), [(1, 300, 21)], CPU)["softmax"]
    assert function.script().count("T.reinterpret(") == 1  # of the exponent


@pytest.mark.parametrize("columns", [77, 96, 128])
@pytest.mark.parametrize("name", ["softmax", "layer_norm"])
def test_a_row_is_finished_before_the_next(name, columns):
    compute, shapes = ROWS[name]
    text = scheduled(compute, [(1, 300, columns), *[(columns,)] * (len(shapes) - 1)], CPU)[name].script()

    assert text.count("T.parallel(300)") == text.count("T.parallel(") == 1
    assert ("T.vectorized(" in text) == (columns != 77)


@pytest.mark.parametrize("name", ["softmax", "layer_norm"])
def test_short_odd_rows_are_computed_across_rows(name):
    """As the scores of 21 classes are: their vectors are rows of the same class."""
    compute, shapes = ROWS[name]
    text = scheduled(compute, [(1, 300, 21), *[(21,)] * (len(shapes) - 1)], CPU)[name].script()

    assert "T.parallel(300)" not in text
    assert "T.vectorized(" in text


def test_channels_in_blocks_are_read_line_by_line():
    text = next(
        function.script()
        for _, function in scheduled(plain, [(1, 4, 16, 16, 16)], CPU).functions_items()
        if isinstance(function, tvm.tirx.PrimFunc)
    )

    assert text.index("in range(16)") < text.index("T.vectorized(16)")
