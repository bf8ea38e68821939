"""Logs that nobody curated: for every layer of a model a feasible config drawn at random, whatever its neighbours got.

`python -m tests.compiler.random_logs --logs 300` compiles models with such logs, for both families of vectors that this
machine can run, and holds what they compute against MXNet; a log that fails is kept, and its path printed.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import tempfile
import traceback
from pathlib import Path
from typing import Any

import tvm
from tvm.ir.instrument import pass_instrument

from tests.compiler.agreement import assert_close, noise
from tests.compiler.writes import writes
from tests.frontends.mxnet import insightface
from tophub_registry.compiler.compiler import CompiledModel, compile_model
from tophub_registry.devices.processor import processor
from tophub_registry.frontends import Model, read_model
from tophub_registry.records.families import FAMILIES, family_of
from tophub_registry.records.record import Config
from tophub_registry.records.target import Target
from tophub_registry.tasks.rules import workloads
from tophub_registry.templates.registry import instantiate
from tophub_registry.templates.template import Template

MODELS = {
    "cifar_resnet20_v1": (32, 32),
    "resnet18_v1": (64, 64),
    "resnet50_v1": (64, 64),
    "mobilenet1.0": (64, 64),
    "mobilenetv2_1.0": (64, 64),
    "squeezenet1.0": (224, 224),
    "se_resnext50_32x4d": (64, 64),
    "densenet121": (224, 224),
    "inceptionv3": (299, 299),
    "vgg16": (32, 32),
    "ssd_512_resnet50_v1_voc": (256, 256),
    "insightface": (112, 112),
}
"""The twelve models, small: networks and the height and width of their inputs."""

_DRAWS = 400
"""Configs that are drawn before a template is passed over, none of them feasible."""


def small(name: str, folder: Path) -> Model:
    """Import a model of the twelve with small inputs."""
    shapes = {"data": (1, 3, *MODELS[name])}
    if name == "insightface":
        saved = insightface.checkpoint(folder, shapes, channels=(32, 32, 64, 128), embedding=128)
        return read_model(saved, shapes=shapes)
    return read_model(name, shapes=shapes)


def families_here() -> list[str]:
    """Return the families whose code this machine can run, of those with AVX2 or more."""
    here = family_of(Target.parse(f"llvm -mcpu={processor()}"))
    return [family for family in FAMILIES[2:] if here is not None and FAMILIES.index(family) <= FAMILIES.index(here)]


def random_config(template: Template, target: Target, draw: random.Random) -> Config | None:
    """Return a feasible config; None where none is found."""
    for _ in range(_DRAWS):
        config = template.space.config(draw.randrange(len(template.space)))
        if template.feasible(config, target) and template.possible(config):
            return config
    return None


def random_log(model: Model, target: str, draw: random.Random, path: Path) -> int:
    """Write a log with one record for each layer of a model, and return how many rows it has."""
    parsed = Target.parse(target)
    rows = {}
    for layer in model.layers:
        tasks = workloads(layer, parsed.kind, own=True)
        draw.shuffle(tasks)
        for task, args in tasks:
            template = instantiate(task, args)
            config = random_config(template, parsed, draw)
            if config is not None:
                entity = [[knob.name, knob.kind, knob.value] for knob in config.entity]
                rows[json.dumps([task, args])] = {
                    "input": [target, task, args, {}],
                    "config": {"index": config.index, "code_hash": None, "entity": entity},
                    "result": [[10 ** draw.uniform(-6, -3)], 0, 0.1, 1.7e9],
                    "version": 0.2,
                    "tvm_version": "0.27.0",
                }
                break
    path.write_text("".join(json.dumps(row) + "\n" for row in rows.values()))
    return len(rows)


LARGE = 4096
"""Writes that are worth several cores."""


@pass_instrument
class _Scheduled:
    """Keeps the module that the last scheduling left."""

    module: Any = None

    def run_after_pass(self, module: Any, info: Any) -> None:
        if info.name == "ApplyDefaultSchedule":
            self.module = module


def compiled_with(model: Model, target: str, log: Path) -> CompiledModel:
    """Compile a model with a log, whose records must all be used; no large loop may be left to one core."""
    seen = _Scheduled()
    with tvm.transform.PassContext(instruments=[seen]):
        compiled = compile_model(model, target, records=[log])
    if compiled.target.kind == "llvm":
        large = [write for write in writes(seen.module) if write.times >= LARGE]
        assert [write for write in large if not write.is_in("parallel")] == []
    assert compiled.left_out == ()
    assert all(layer.recorded for layer in compiled.layers if layer.kernel is not None)
    return compiled


def check(model: Model, target: str, log: Path) -> None:
    """Compile a model with a log, run it, and hold its outputs against MXNet's."""
    compiled = compiled_with(model, target, log)
    inputs = noise(model)
    assert_close(compiled.run(*inputs), model.reference(*inputs))


def main() -> None:
    """Draw logs until there are enough, each for the next model and the next family."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--logs", type=int, default=300)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--models", nargs="*", default=[*MODELS], choices=[*MODELS])
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="random-logs-"))
    failed = 0
    for place, name in enumerate(options.models):
        model = small(name, folder)
        for number in range(place, options.logs, len(options.models)):
            seed = options.seed + number
            families = families_here()
            target = f"llvm -mcpu={families[(number // len(options.models)) % len(families)]}"
            log = folder / f"{name}_{seed}.log"
            rows = random_log(model, target, random.Random(seed), log)
            try:
                check(model, target, log)
            except Exception:  # noqa: BLE001  # each is told, and the others go on
                failed += 1
                sys.stdout.write(f"{log} for {target} failed:\n{traceback.format_exc()[-3000:]}\n")
            else:
                sys.stdout.write(f"{name}, seed {seed}, {target}: {rows} records, right\n")
                log.unlink()
            sys.stdout.flush()
    sys.stdout.write(f"{options.logs - failed} of {options.logs} logs compiled and computed what MXNet computes\n")
    sys.exit(bool(failed))


if __name__ == "__main__":
    main()
