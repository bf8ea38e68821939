"""Kernels that ask for their next weights compute the same, and ask for each line of them."""

import re

import numpy as np
import pytest

from tests.templates.test_numerics import conv2d, dense, pointwise, tiled, winograd
from tophub_registry.records.target import Target
from tophub_registry.templates.prefetch import can_prefetch
from tophub_registry.templates.registry import instantiate

tvm = pytest.importorskip("tvm", reason="needs the extra [tune]")

AVX2 = "llvm -mcpu=x86-64-v3"
TASKS = [
    conv2d([1, 32, 14, 14], [64, 32, 3, 3], 2, (1, 1, 1, 1)),
    dense("pack", 1, 256, 1000),
    pointwise([1, 64, 7, 7], 128),
    pointwise([2, 48, 5, 3], 96),
    pointwise([1, 64, 14, 14], 256, 2),
    pointwise([1, 20, 7, 7], 100),
    pointwise([1, 320, 7, 7], 128),
    tiled([1, 64, 7, 7], [64, 64, 3, 3], 1, (1, 1, 1, 1)),
    winograd(64, (7, 7), 64),
    winograd(24, (14, 9), 40),
]


@pytest.mark.parametrize("task", TASKS, ids=str)
def test_a_kernel_that_prefetches_computes_the_same(task):
    template = instantiate(*task)
    config = template.default(Target.parse(AVX2))
    libraries = [tvm.compile(each, target="llvm") for each in (template.schedule(config).mod, template.kernel(config))]
    numbers = np.random.default_rng(0)
    *inputs, output = [numbers.uniform(-1, 1, tensor.shape).astype("float32") for tensor in template.tensors(config)]
    outputs = []
    for library in libraries:
        arrays = [tvm.runtime.tensor(each) for each in (*inputs, output)]
        library["main"](*arrays)
        outputs.append(arrays[-1].numpy())
    assert np.array_equal(*outputs)


@pytest.mark.parametrize("task", TASKS, ids=str)
def test_every_line_of_the_next_weights_is_asked_for(task):
    template = instantiate(*task)
    config = template.default(Target.parse(AVX2))
    text = template.kernel(config)["main"].script()
    assert "prefetch" in text
    assert "tophub.prefetch" not in text


@pytest.mark.parametrize(
    "task",
    [
        pointwise([1, 160, 7, 7], 512),
        pointwise([1, 512, 7, 7], 512),
        tiled([1, 512, 7, 7], [512, 512, 3, 3], 1, (1, 1, 1, 1)),
        conv2d([1, 128, 14, 14], [256, 128, 3, 3], 2, (1, 1, 1, 1)),
        winograd(256, (14, 14), 256),
    ],
    ids=str,
)
def test_code_for_a_processor_prefetches_without_writing_sums_to_memory(task):
    template = instantiate(*task)
    check_that_sums_stay_in_registers(template, template.default(Target.parse("llvm -mcpu=x86-64-v4")), at_least=7)


@pytest.mark.parametrize(("together", "pixels"), [(2, 14), (3, 9), (4, 6), (1, 28)])
def test_twenty_four_and_more_sums_stay_in_registers(together, pixels):
    template = instantiate(*pointwise([1, 736, 14, 14], 192))
    values = {"tile_ic": [-1, 16], "tile_oc": [-1, together, 16], "tile_p": pixels, "channels_first": True}
    check_that_sums_stay_in_registers(template, template.space.config_of(values), at_least=together * pixels)


def check_that_sums_stay_in_registers(template, config, *, at_least):
    """Look into the loop that asks for weights: it adds up at least so many vectors, and writes none to memory."""
    target = tvm.target.Target({"kind": "llvm", "mcpu": "x86-64-v4"})
    code = tvm.compile(template.kernel(config), target=target).mod.inspect_source("asm")
    loops = [loop for loop in innermost_loops(code, around="prefetcht1") if loop.count("vfmadd") >= at_least]
    assert loops
    for loop in loops:
        assert not re.search(r"vmov[au]ps\s+%zmm\d+, -?\d*\(", loop)


def innermost_loops(code, *, around):
    """The smallest piece of the code between a label and a jump back to it, for each line with these letters."""
    lines = code.splitlines()
    labels = {line.rstrip(":"): place for place, line in enumerate(lines) if re.fullmatch(r"\.L\w+:", line)}
    jumps = [(labels.get(line.split()[-1], len(lines)), place) for place, line in enumerate(lines) if "\tj" in line]
    loops = [(start, end) for start, end in jumps if start < end]
    for place, line in enumerate(lines):
        if around in line:
            start, end = min(
                (loop for loop in loops if loop[0] <= place <= loop[1]), key=lambda loop: loop[1] - loop[0]
            )
            yield "\n".join(lines[start:end])


def test_sums_that_do_not_fit_the_registers_are_not_prefetched_for():
    assert can_prefetch(31 * 16)
    assert not can_prefetch(33 * 16)
