"""Trials with known costs: those of a kernel whose time depends on its config in a simple way."""

from __future__ import annotations

import math
import random
from typing import TYPE_CHECKING

from tophub_registry.records.record import Record
from tophub_registry.records.target import Target
from tophub_registry.records.task import tensor
from tophub_registry.templates.registry import instantiate

if TYPE_CHECKING:
    from tophub_registry.records.record import Config
    from tophub_registry.templates.template import Template

TARGET = Target.parse("cuda -model=h100")


def convolution(channels: int, size: int, outputs: int | None = None) -> Template:
    """Return a 1x1 convolution for CUDA."""
    data, kernel = tensor([1, channels, size, size]), tensor([outputs or channels, channels, 1, 1])
    return instantiate("conv2d_nchw.cuda", [data, kernel, [1, 1], [0] * 4, [1, 1], "float32"])


def cost(template: Template, config: Config) -> float:
    """Return a time in seconds that is least for 128 threads of 4 outputs each."""
    tiles = [config.value(name) for name in ("tile_f", "tile_y", "tile_x")]
    threads, outputs = (math.prod(tile[part] for tile in tiles) for part in (2, 3))
    slower = abs(math.log2(threads / 128)) + abs(math.log2(outputs / 4))
    return template.flop / 1e13 * 1.5**slower


def trial(template: Template, config: Config, *, failed: bool = False) -> Record:
    """Return the record of a trial."""
    row = {
        "input": [str(TARGET), template.task, template.args, {}],
        "config": config.model_dump(),
        "result": [[1e9 if failed else cost(template, config)], 4 if failed else 0, 0.1, 1.7e9],
        "version": 0.2,
        "tvm_version": "0.27.0",
    }
    return Record.model_validate_json(Record.model_validate(row).to_json())


def trials(template: Template, count: int, seed: int = 0) -> list[Record]:
    """Return so many trials of random configs."""
    rng = random.Random(seed)  # no secrets here
    return [trial(template, template.space.config(rng.randrange(len(template.space)))) for _ in range(count)]


def taught() -> list[Record]:
    """Return trials of five workloads."""
    shapes = [(32, 14), (64, 28), (48, 7), (128, 14), (96, 56)]
    return [record for seed, shape in enumerate(shapes) for record in trials(convolution(*shape), 60, seed)]
