"""Arguments of a task are anybody's text: a template takes them, or says in one of our errors why not, and soon."""

from __future__ import annotations

import copy
import json
import random
import time
import tracemalloc

import pytest

from tests.conftest import examples
from tests.gpu.workloads import WORKLOADS
from tests.records.rows import row
from tophub_registry.cli import main
from tophub_registry.errors import InputError
from tophub_registry.records.flops import flop
from tophub_registry.records.record import Record
from tophub_registry.records.target import Target
from tophub_registry.records.task import describe, tensor
from tophub_registry.templates.registry import TEMPLATES, instantiate
from tophub_registry.templates.space import MAX_WAYS, split
from tophub_registry.templates.validation import check_space
from tophub_registry.templates.workloads import MAX_SIZE

INPUTS = examples(1000)
"""For each template, drawn for it alone: another template does not change them."""

SECONDS = 4.0
"""What one workload may take at most, on a slow machine at work; most take a thousandth."""

CONV = [tensor([1, 64, 56, 56]), tensor([64, 64, 3, 3]), [1, 1], [1, 1, 1, 1], [1, 1]]
_CUBE = ([1] * 3, [1] * 6, [1] * 3)
LAYOUTS = ["NCHW", "NCHW", "float32"]
ARGUMENTS = {
    "conv2d_NCHWc.x86": [*CONV, *LAYOUTS],
    "conv2d_NCHWc_winograd.x86": [*CONV, *LAYOUTS],
    "conv2d_NCHWc_tiled.x86": [*CONV, *LAYOUTS],
    "conv2d_NCHWc_pointwise.x86": [CONV[0], tensor([64, 64, 1, 1]), [2, 2], [0, 0, 0, 0], [1, 1], *LAYOUTS],
    "conv2d_transpose_NCHWc.x86": [*CONV[:4], "float32", [0, 0], 1],
    "depthwise_conv2d_NCHWc.x86": [CONV[0], tensor([64, 1, 3, 3]), *CONV[2:], *LAYOUTS],
    "depthwise_conv2d_NCHWc_dilated.x86": [CONV[0], tensor([64, 1, 3, 3]), *CONV[2:4], [2, 2], *LAYOUTS],
    "group_conv2d_nchw.x86": [CONV[0], tensor([64, 16, 3, 3]), *CONV[2:], 4, "float32"],
    "group_conv2d_NCHWc.x86": [CONV[0], tensor([64, 16, 3, 3]), *CONV[2:], 4, "float32"],
    "group_conv2d_NCHWc_tiled.x86": [CONV[0], tensor([64, 16, 3, 3]), *CONV[2:], 4, "float32"],
    "conv3d_ncdhw.x86": [tensor([1, 64, 8, 28, 28]), tensor([32, 64, 3, 3, 3]), *map(list, _CUBE), 1, "float32"],
    "dense_nopack.x86": [tensor([1, 512]), tensor([1000, 512]), None, "float32"],
    "dense_pack.x86": [tensor([4, 512]), tensor([1000, 512]), None, "float32"],
    "dense_tiled.x86": [tensor([197, 512]), tensor([1000, 512]), None, "float32"],
    "batch_matmul.x86": [tensor([12, 197, 64]), tensor([12, 197, 64]), [12, 197, 197], "float32", 0, 1],
    "batch_matmul_tiled.x86": [tensor([12, 197, 64]), tensor([12, 128, 64]), None, "float32", 0, 1],
    **dict(WORKLOADS),
}
"""Sound arguments of every template."""

STRANGE = [
    *(None, True, -1, 0, 1, 2, 7, 1.5, "x", [], {}, [[]], ["TENSOR"], "float16"),
    *(10**30, 2**31 - 1, 735_134_400, 720_720, 1_048_576, 65_536, 4096, 997),
    *([0, 0], [1, 0], [-1, 1], [2**20, 2**20], [9, 9, 9, 9], [1, 1, 1]),
    ["TENSOR", [1, 735_134_400, 1, 1], "float32"],
]
TARGETS = [Target.parse(text) for text in ("llvm -mcpu=znver4", "llvm -mcpu=znver3", "cuda -model=h100")]


def mutated(args, chance):
    """Return arguments with something strange in one or two places, mostly sizes."""
    args = copy.deepcopy(args)
    for _ in range(chance.choice((1, 1, 2))):
        place = args
        while True:
            key = chance.randrange(len(place))
            if not isinstance(place[key], list) or not place[key] or chance.random() < 0.1:
                break
            place = place[key]
        small = type(place[key]) is int and chance.random() < 0.25  # a size that may well fit the others
        place[key] = chance.randrange(1, 5) if small else copy.deepcopy(chance.choice(STRANGE))
    return args


def look_at(task, args):
    """Do what validation, look-up, tuning and compiling do with a workload before they build anything."""
    template = instantiate(task, args)
    space = template.space
    assert len(space) > 0
    for index in {0, len(space) - 1, len(space) // 2}:
        config = space.config(index)
        assert space.find(config.entity) == index
        template.feasible(config, Target.parse("llvm"))
        template.possible(config)
        template.register_tile(config)
    assert template.flop >= 0


@pytest.mark.slow
def test_argument_lists_over_all_templates():
    assert set(ARGUMENTS) == set(TEMPLATES)
    chances = {task: random.Random(task) for task in ARGUMENTS}
    taken, told = [], 0
    tracemalloc.start()
    for task in sorted(ARGUMENTS) * INPUTS:
        args = mutated(ARGUMENTS[task], chances[task])
        began = time.process_time()
        try:
            look_at(task, args)
            taken.append(task)
        except InputError as error:
            told = max(told, len(str(error)))
        assert time.process_time() - began < SECONDS, (task, args)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(taken) > INPUTS * len(ARGUMENTS) / 13
    assert set(taken) == set(TEMPLATES)  # whatever is strange about them, some are sound
    assert told < 500
    assert peak < 512 << 20


@pytest.mark.parametrize(
    ("args", "reason"),
    [
        (
            [tensor([1, 64, 56, 56]), tensor([64, 64, 3, 3]), [0, 0], [1, 1], [1, 1], "float32"],
            "0 is not an integer from 1",
        ),
        ([tensor([1, 64, 2, 2]), tensor([64, 64, 7, 7]), [1, 1], [0, 0], [1, 1], "float32"], "larger than the padded"),
        (
            [tensor([1, 735_134_400, 1, 1]), tensor([1, 735_134_400, 1, 1]), [1, 1], [0, 0], [1, 1], "float32"],
            f"735134400 is not an integer from 1 to {MAX_SIZE}",
        ),
        (
            [tensor([1, 8, 9, 9]), tensor([8, 8, 3, 3]), [1, 1], [-1, 0], [1, 1], "float32"],
            "-1 is not an integer from 0",
        ),
        (
            [tensor([1, 8, 9, 9]), tensor([8, True, 3, 3]), [1, 1], [0, 0], [1, 1], "float32"],
            '["TENSOR", [8, true, 3, 3], "float32"] as kernel',
        ),
    ],
    ids=["no stride", "no output", "channels", "padding", "true"],
)
def test_validation_and_release_name_what_is_wrong_with_a_workload(args, reason, tmp_path, capsys):
    value = row(target="cuda -model=h100", task="conv2d_nchw.cuda")
    value["input"][2] = args
    (finding,) = check_space(Record.model_validate(value))
    assert (finding.rule, finding.severity) == ("space", "error")
    assert reason in finding.message
    log = tmp_path / "new.log"
    log.write_text(json.dumps(value) + "\n")
    for command in (["validate", log], ["release", "cuda", log, "--registry", tmp_path / "registry"]):
        with pytest.raises(SystemExit) as ended:
            main([*map(str, command)])
        assert ended.value.code == 1
        told = capsys.readouterr()
        assert f"{log}:1: " in told.out + told.err
        assert reason in told.out + told.err


def test_an_axis_with_too_many_ways_to_be_split_is_refused_before_they_are_all_listed():
    began = time.process_time()
    with pytest.raises(InputError, match=f"more than {MAX_WAYS} ways"):
        split("tile_f", 735_134_400, parts=4)
    assert time.process_time() - began < SECONDS
    assert len(split("tile_f", 4096, parts=4).options) == 455


def varied(args, chance):
    """Return arguments with other strides, padding and dilation, where the task has such."""
    choices = {2: [[1, 1], [2, 2], [2, 1], [1, 3]], 3: [[1, 1, 1, 1], [0, 0, 0, 0], [2, 1, 0, 1]], 4: [[1, 1], [2, 2]]}
    return [
        chance.choice(choices.get(place, [value])) if isinstance(value, list) and isinstance(value[0], int) else value
        for place, value in enumerate(copy.deepcopy(args))
    ]


def test_one_number_stands_for_both_directions_everywhere():
    """As TOPI takes it: in the template, in the count of operations, and in the name."""
    data, kernel = tensor([1, 64, 56, 56]), tensor([64, 64, 3, 3])
    short = [data, kernel, 2, 1, 1, "float32"]
    long = [data, kernel, [2, 2], [1, 1, 1, 1], [1, 1], "float32"]
    assert instantiate("conv2d_nchw.cuda", short).workload == instantiate("conv2d_nchw.cuda", long).workload
    assert flop("conv2d_nchw.cuda", short) == flop("conv2d_nchw.cuda", long)
    assert describe("conv2d_nchw.cuda", short) == describe("conv2d_nchw.cuda", long)


def test_tuning_and_showing_count_the_same_operations():
    chance = random.Random(7)
    counted = dict.fromkeys(ARGUMENTS, 0)
    for task, sound in ARGUMENTS.items():
        for args in (sound, *(varied(sound, chance) for _ in range(20))):
            try:
                template = instantiate(task, args)
            except InputError:
                continue  # winograd has no strides, say
            assert template.flop == flop(task, args), (task, args)
            counted[task] += 1
    assert all(counted.values()), counted
