"""Whether a record of another processor can be expected to beat the default config on this one.

A convolution is fast if it has many independent sums, so that additions need not wait for one another, and if these
stay in registers, together with the kernel's vectors and one pixel. Both bounds depend on the processor, not on where
the config was found. They were fitted to kernels of `conv2d_NCHWc.x86` timed on both vector families against AutoTVM's
default config, and hold for workloads outside the fit (`benchmarks/families.py`). A dense layer is bound by the reading
of its weights, so its configs work on either family. Depthwise convolutions gain only within a family, if a row's sums
leave some registers; our convolutions in groups, and Winograd's, lose too often even there.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tophub_registry.errors import InputError
from tophub_registry.records.families import keyed, same_family, vectors_of
from tophub_registry.records.target import Target
from tophub_registry.templates.registry import instantiate
from tophub_registry.templates.x86 import sums_fit

if TYPE_CHECKING:
    from tophub_registry.records.families import Vectors
    from tophub_registry.records.record import Config, Record
    from tophub_registry.templates.template import RegisterTile, Template

FILLED = 0.3
"""The least share of the registers that hold sums."""

APART = 1
"""Registers for anything but sums and the kernel's vectors."""

_FAMILIES = (Target.parse("llvm -mcpu=x86-64-v3"), Target.parse("llvm -mcpu=x86-64-v4"))

_HELD = 0.85
"""The most of the registers that may hold a row's sums. Of 35 depthwise records of a Xeon with AVX2, the 32 with up to
13 sums took 1.00 times as long as the default config on a Zen 3 (geometric mean; 0.75 to 1.39), the three with 14 to
28 took 1.2 to 1.6 times as long. 16 of `group_conv2d_NCHWc.x86` took 1.27 times as long, and hardly one gained."""

_ANYWHERE = frozenset({"dense_pack.x86", "dense_nopack.x86"})
_WITHIN_A_FAMILY = frozenset({"depthwise_conv2d_NCHWc.x86", "group_conv2d_nchw.x86"})


def transfers(template: Template, config: Config, target: Target, found_on: Target) -> bool:
    """Return whether another processor's config can be expected to beat the default config on the target.

    Parameters
    ----------
    template
        The layer's workload.
    config
        A config of its space.
    target
        The target compiled for; False unless it is a known x86 processor.
    found_on
        The target of the config's record.
    """
    vectors = vectors_of(target)
    if vectors is None:
        return False
    tile = template.register_tile(config)
    if template.task in _WITHIN_A_FAMILY:
        return same_family(target, found_on) and (tile is None or sums_fit(*tile, target, _HELD))
    return template.task in _ANYWHERE or (tile is not None and fills(tile, vectors))


def for_everybody(record: Record) -> Record:
    """Return a processor's record as a package for all processors should have it.

    AutoTVM's clients take the fastest record, whatever its processor. A record that can't be expected to gain on every
    family therefore gets its family as its target's key, so that only clients that ask for the key find it. Look-up in
    this project ignores the key.
    """
    if vectors_of(record.target) is None:
        return record
    try:
        template = instantiate(record.input.task, record.input.args)
    except InputError:
        return record
    if all(transfers(template, record.config, target, record.target) for target in _FAMILIES):
        return record
    return record.model_copy(update={"input": record.input._replace(target=str(keyed(record.target)))})


def fills(tile: RegisterTile, vectors: Vectors, filled: float = FILLED, apart: int = APART) -> bool:
    """Return whether a tile of sums takes whole vectors, enough of them, and no more than there are registers for."""
    of_kernel, rest = divmod(tile.channels, vectors.lanes)
    sums = of_kernel * tile.pixels
    return rest == 0 and filled * vectors.registers <= sums <= vectors.registers - of_kernel - apart
