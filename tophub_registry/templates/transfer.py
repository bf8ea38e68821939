"""Whether a record that was made for another processor may be expected to gain on this one.

A convolution is as fast as its sums are many, so that each has been added to before its next turn, and as they stay in
registers, beside the vectors of the kernel that they have in common and the pixel that is multiplied by these. Both
bounds follow from the processor, not from where a config was found. They were fitted to kernels of `conv2d_NCHWc.x86`
that were timed on both families of vectors against AutoTVM's default config, and hold for workloads that the fit has
not seen (`benchmarks/families.py`). A dense layer waits for its weights: what serves that serves either family.
Depthwise and grouped convolutions gain within a family only, and Winograd's lose too often even there.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tophub_registry.errors import InputError
from tophub_registry.records.families import keyed, same_family, vectors_of
from tophub_registry.records.target import Target
from tophub_registry.templates.registry import instantiate

if TYPE_CHECKING:
    from tophub_registry.records.families import Vectors
    from tophub_registry.records.record import Config, Record
    from tophub_registry.templates.template import RegisterTile, Template

FILLED = 0.3
"""The share of the registers that hold sums at least."""

APART = 1
"""Registers for what is neither a sum nor a vector of the kernel."""

_FAMILIES = (Target.parse("llvm -mcpu=x86-64-v3"), Target.parse("llvm -mcpu=x86-64-v4"))

_ANYWHERE = frozenset({"dense_pack.x86", "dense_nopack.x86"})
_WITHIN_A_FAMILY = frozenset({"depthwise_conv2d_NCHWc.x86", "group_conv2d_nchw.x86", "group_conv2d_NCHWc.x86"})


def transfers(template: Template, config: Config, target: Target, found_on: Target) -> bool:
    """Return whether a config that was found on another processor may be expected to gain on the target's.

    Parameters
    ----------
    template
        The layer's workload.
    config
        A config of its space.
    target
        What is compiled for; False where it is no x86 processor that is known.
    found_on
        The target of the config's record.
    """
    vectors = vectors_of(target)
    if vectors is None:
        return False
    if template.task in _WITHIN_A_FAMILY:
        return same_family(target, found_on)
    tile = template.register_tile(config)
    return template.task in _ANYWHERE or (tile is not None and fills(tile, vectors))


def for_everybody(record: Record) -> Record:
    """Return a processor's record as a package that everybody reads should have it.

    AutoTVM's clients take the fastest record for any processor. One that may not be expected to gain on every family is
    therefore given its own family as its key, by which only those find it who ask for it; look-up here does not mind.
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
