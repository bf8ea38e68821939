"""Winograd's convolution in blocked layout: interchangeable with the direct one, and open to what follows it."""

import numpy as np
import pytest

from tophub_registry.errors import InputError
from tophub_registry.records.target import Target
from tophub_registry.templates.registry import instantiate

tvm = pytest.importorskip("tvm", reason="needs the extra [tune]")

TASK = "conv2d_NCHWc_winograd.x86"
AVX512 = Target.parse("llvm -mcpu=x86-64-v4")


def arguments(data, kernel, *, stride=1, dilation=1):
    shapes = [["TENSOR", list(data), "float32"], ["TENSOR", list(kernel), "float32"]]
    return [*shapes, [stride] * 2, [1] * 4, [dilation] * 2, "NCHW", "NCHW", "float32"]


ARGUMENTS = arguments([1, 32, 14, 14], [64, 32, 3, 3])


def config(template, **values):
    knobs = {"tile_ic": [-1, 16], "tile_oc": [-1, 1, 2, 16], "tile_size": 4, "tile_rows": 2, "tile_p": 8}
    return template.space.config_of({**knobs, "parallel_rows": True, **values})


@pytest.mark.parametrize("blocks", [(16, 16), (8, 32), (32, 4)])
def test_data_and_output_are_laid_out_as_in_the_direct_convolution(blocks):
    ic, oc = blocks
    direct, winograd = (instantiate(task, ARGUMENTS) for task in ("conv2d_NCHWc.x86", TASK))
    direct_config = direct.space.where({"tile_ic": ic, "tile_oc": oc}).config(0)
    first, _, last = winograd.tensors(config(winograd, tile_ic=[-1, ic], tile_oc=[-1, 1, 1, oc]))
    assert direct.tensors(direct_config)[::2] == [first, last]
    assert winograd.flop == direct.flop


@pytest.mark.parametrize("parallel_rows", [True, False])
@pytest.mark.parametrize("first", ["schedule", "inline"])
def test_what_follows_is_computed_where_the_output_is_written(first, parallel_rows):
    from tvm import runtime, s_tir, te, tirx

    template = instantiate(TASK, ARGUMENTS)
    chosen = config(template, parallel_rows=parallel_rows)
    data, kernel, output = template.computation(chosen)
    bias = te.placeholder((4, 16), name="bias")
    residual = te.placeholder(output.shape, name="residual")
    last = te.compute(
        output.shape,
        lambda n, o, y, x, v: tirx.max(output[n, o, y, x, v] + bias[o, v] + residual[n, o, y, x, v], tirx.const(0.0)),
        name="epilogue",
    )
    function = te.create_prim_func([data, kernel, bias, residual, last]).with_attr("global_symbol", "main")
    sch = s_tir.Schedule(function, debug_mask="none")
    if first == "inline":
        sch.reverse_compute_inline(sch.get_sblock("epilogue"))
    template.apply(sch, chosen)
    if first == "schedule":
        sch.reverse_compute_inline(sch.get_sblock("epilogue"))
    rng = np.random.default_rng(3)
    images, weights = (rng.uniform(-1, 1, shape[1]).astype("float32") for shape in ARGUMENTS[:2])
    packed = [np.ascontiguousarray(array) for array in template.pack(chosen, [images, weights])]
    out = template.tensors(chosen)[-1]
    more = [rng.uniform(-1, 1, shape).astype("float32") for shape in ((4, 16), out.shape)]
    machine = tvm.target.Target({"kind": "llvm", "mcpu": str(tvm.target.codegen.llvm_get_system_cpu())})

    def run(module, *inputs):
        result = runtime.tensor(np.full(out.shape, np.nan, "float32"))
        tvm.compile(module, target=machine)["main"](*map(runtime.tensor, inputs), result)
        return result.numpy()

    plain = run(template.schedule(chosen).mod, *packed)
    fused = run(sch.mod, *packed, *more)
    np.testing.assert_allclose(fused, np.maximum(plain + more[0][:, None, None, :] + more[1], 0), atol=1e-5)


def test_sums_that_do_not_fit_into_registers_are_not_tried():
    template = instantiate(TASK, ARGUMENTS)
    assert template.feasible(config(template, tile_p=16, tile_rows=4, tile_oc=[-1, 1, 1, 16]), AVX512)
    assert not template.feasible(config(template, tile_p=16, tile_rows=4), AVX512)
    assert not template.feasible(config(template, tile_p=8, tile_oc=[-1, 1, 4, 16]), AVX512)


def test_few_sums_are_tried_only_where_there_are_no_more():
    template = instantiate(TASK, ARGUMENTS)
    assert not template.feasible(config(template, tile_p=2), AVX512)
    pixel = instantiate(TASK, arguments([1, 32, 1, 1], [64, 32, 3, 3]))
    assert pixel.feasible(config(pixel, tile_rows=1, tile_p=1), AVX512)


def test_tiles_that_are_mostly_computed_in_vain_are_not_tried():
    template = instantiate(TASK, ARGUMENTS)
    assert not template.feasible(config(template, tile_rows=3), AVX512)  # four rows of tiles, twice three at once
    assert not template.feasible(config(template, tile_p=13, tile_oc=[-1, 1, 1, 16]), AVX512)


@pytest.mark.parametrize("target", ["llvm -mcpu=znver4", "llvm -mcpu=znver2", "llvm"])
@pytest.mark.parametrize("size", [(56, 56), (28, 28), (14, 14), (7, 7), (3, 200), (1, 1)])
@pytest.mark.parametrize("channels", [3, 64, 67])
def test_the_default_is_a_point_of_the_space(target, size, channels):
    template = instantiate(TASK, arguments([1, channels, *size], [64, channels, 3, 3]))
    default = template.default(Target.parse(target))
    assert default.index >= 0
    assert template.feasible(default, Target.parse(target))


@pytest.mark.parametrize(
    "args",
    [
        arguments([1, 8, 14, 14], [8, 8, 5, 5]),
        arguments([1, 8, 14, 14], [8, 8, 3, 1]),
        arguments([1, 8, 14, 14], [8, 8, 3, 3], stride=2),
        arguments([1, 8, 14, 14], [8, 8, 3, 3], dilation=2),
        arguments([1, 8, 14, 14], [8, 4, 3, 3]),
    ],
)
def test_other_convolutions_are_refused(args):
    with pytest.raises(InputError):
        instantiate(TASK, args)


def test_avx2_has_half_of_the_registers_and_of_the_lanes():
    template = instantiate(TASK, ARGUMENTS)
    avx2 = Target.parse("llvm -mcpu=x86-64-v3")
    for block, tiles, fits in ((8, 8, True), (8, 16, False), (16, 4, True), (16, 8, False)):
        its = config(template, tile_p=tiles, tile_rows=4, tile_oc=[-1, 1, 1, block])
        assert template.feasible(its, avx2) == fits
