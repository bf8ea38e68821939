"""The target parser: what it accepts is written and parsed again as the same target, as a string and as a dict."""

from __future__ import annotations

import json
import random
from pathlib import Path

from tophub_registry.records.conversion_rules import family
from tophub_registry.records.families import family_of, keyed, same_family, without_general_keys
from tophub_registry.records.lookup import Match, backend_of, match_targets
from tophub_registry.records.target import Target

from .harness import Harness, Raw, expect, tried

WORDS = (
    "llvm", "cuda", "opencl", "c", "hexagon", "rocm", "ext_dev", " -", " --", "=", "'", " ", ",", "-mcpu", "-model",
    "-keys", "-libs", "-mattr", "-device", "-target", "-mtriple", "-arch", "znver4", "h100", "sm_90", "x86-64-v3",
    "arm_cpu", "mali", "unknown", "aarch64-linux-gnu", "+avx512f,+avx2", "-1", "007", "1", "x86_64", "''", "' '", "\t",
    "-max_num_threads",
)  # fmt: skip

SEEDS = (
    "llvm",
    "cuda -model=h100 -arch=sm_90",
    "llvm -keys=x86-64-v3,cpu -mcpu=x86-64-v3 -mattr=+avx2,+fma -num-cores=8",
    "llvm -device=arm_cpu -model=rk3399 -target=aarch64-linux-gnu -mattr=+neon",
    "opencl -device=mali -model 'rk3399 t860' -flag --libs=cblas,mkl",
    "cuda -model=1080ti -max_num_threads=1024 -x=''",
    "ext_dev -device=vta -model=ultra96",
    "vulkan -model='a b' -y='c''d'",
    '{"kind": "llvm", "mcpu": "znver4"}',
)


def check(data: bytes, _folder: Path) -> None:
    """Parse one target, or two with a line break between them."""
    first, _, second = data.decode("utf-8", "surrogateescape").partition("\n")
    target = tried(Target.parse, first)
    if target is None:
        return
    written = str(target)
    expect(written == first, "a target that was parsed is written as it was")
    expect(Target.parse(written) == target, "a target that was written is parsed as the same")
    plain = Target(target.kind, target.options)
    for changed in (plain, target.with_option("model", "x y"), keyed(target), without_general_keys(target)):
        again = tried(Target.parse, str(changed))
        expect(again == changed, "a target that was made is written so that it can be parsed")
        expect(match_targets(changed, changed) is Match.DEVICE, "a target matches itself")
    _check_dict(target)
    backend_of(target)
    family(target)
    family_of(target)
    other = tried(Target.parse, second)
    if other is not None:
        expect((target == other) == (plain == Target(other.kind, other.options)), "the text does not count")
        expect(same_family(target, other) == same_family(other, target), "families are compared both ways alike")
        match_targets(target, other)


def _check_dict(target: Target) -> None:
    """Check that the dict form says the same, and can be written as JSON."""
    fields = target.as_dict()
    expect(json.loads(json.dumps(fields)) == fields, "a target's dict is JSON")
    kind = fields.pop("kind")
    options = {
        key: ",".join(map(str, value)) if isinstance(value, list) else str(value) for key, value in fields.items()
    }
    expect((kind, options) == (target.kind, dict(target.options)), "a target's dict says what its string says")


def mutate(data: bytes, size: int, chance: random.Random, raw: Raw) -> bytes:
    """Put words in, take pieces out, or change bytes."""
    text = data.decode("utf-8", "surrogateescape")
    for _ in range(chance.choice([1, 1, 2, 4])):
        start = chance.randint(0, len(text))
        end = min(len(text), start + chance.choice([0, 0, 1, 5, 20]))
        match chance.randrange(8):
            case 0:
                text = raw(text.encode("utf-8", "surrogateescape"), size).decode("utf-8", "surrogateescape")
            case 1:
                text = text[:start] + text[end:]
            case 2:
                text = text[:start] + text[start:end] * chance.choice([2, 2, 50]) + text[end:]
            case 3:
                text = text + "\n" + chance.choice([text, *SEEDS])
            case 4:
                text = text[:start] + chance.choice("\0\x1b\x1c\x85\u2028é٣9=' -") + text[end:]
            case _:
                text = text[:start] + chance.choice(WORDS) + text[end:]
    return text.encode("utf-8", "surrogateescape")[:size]


def seeds() -> list[bytes]:
    """Return targets as people write them."""
    return [seed.encode() for seed in SEEDS]


HARNESS = Harness(check, seeds, mutate, WORDS)
