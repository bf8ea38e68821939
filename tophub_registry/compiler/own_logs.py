"""Checks that the user's own logs have records for a model: a log for another target or other layers is a mistake."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from tophub_registry.errors import InputError
from tophub_registry.records.lookup import Match

if TYPE_CHECKING:
    from tophub_registry.compiler.compiler import CompiledModel
    from tophub_registry.records.target import Target


def check_useful(compiled: CompiledModel, logs: Sequence[Path]) -> None:
    """Raise InputError if logs have no record for a model: neither one of its layers' nor one that a layer borrows.

    Parameters
    ----------
    compiled
        The model, compiled with these logs only.
    """
    helped = (
        layer.recorded or layer.evidence or layer.beaten or layer.match is not Match.NONE for layer in compiled.layers
    )
    if logs and not any(helped) and not compiled.left_out:
        raise useless(logs, compiled.target)


def useless(logs: Sequence[Path], target: Target) -> InputError:
    """Return the error for logs without records for a model."""
    return InputError(
        f"no record for any layer of this model on {target}",
        file=", ".join(map(str, logs)),
        remedy="`tophub show` says what a log holds",
    )
