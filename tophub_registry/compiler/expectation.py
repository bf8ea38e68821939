"""What tuning a compiled model is expected to bring: what it brought to models that were left out of the packages."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from tophub_registry.records.lookup import Match
from tophub_registry.templates.mma_cuda import MmaTemplate

if TYPE_CHECKING:
    from tophub_registry.compiler.compiled import CompiledLayer, CompiledModel

_BORROWED = {"cuda": 1.08, "llvm": 1.02}
_DEFAULT = {"cuda": 6.9, "llvm": 1.02}
"""How many times as long as tuned ones models took that had only neighbours' configs, or only default ones:
geometric means of `benchmarks/transfer.py` over 14 models on an H100, and 8 on a processor."""

_TENSOR_CORES = 1.21
"""How many times as long as the best of eight trials or more default configs take on tensor cores: the geometric mean
of 324 convolutions on an H100."""


class Expectation(NamedTuple):
    """What tuning is expected to bring.

    Attributes
    ----------
    without
        How many layers were never tuned, of those that a template covers.
    gain
        The share of a run's time that tuning them is expected to save.
    """

    without: int
    gain: float


def expectation(compiled: CompiledModel) -> Expectation:
    """Return what tuning the layers without a record of their own is expected to bring."""
    covered = [layer for layer in compiled.layers if layer.kernel is not None]
    saved = total = 0.0
    for layer in covered:
        cost = 0.0 if layer.kernel is None else layer.kernel.cost
        total += cost
        if _is_untuned(layer):
            saved += cost * (1 - 1 / _excess(layer, compiled.target.kind))
    return Expectation(sum(map(_is_untuned, covered)), saved / total if total else 0.0)


def _is_untuned(layer: CompiledLayer) -> bool:
    """Whether a layer has no record of its own; one whose records lost in the whole model was tuned."""
    return not layer.recorded and not layer.beaten


def _excess(layer: CompiledLayer, kind: str) -> float:
    if layer.kernel is not None and isinstance(layer.kernel.template, MmaTemplate):
        return _TENSOR_CORES
    return (_BORROWED if layer.match is Match.FALLBACK else _DEFAULT)[kind]
