"""Fixes the sizes that a model leaves open."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from tophub_registry.errors import UsageError
from tophub_registry.tasks.layers import Shape

Sizes = Sequence[int | str]
"""The sizes of an input: numbers, or names of open sizes."""


def fixed(
    inputs: Mapping[str, Sizes], shapes: Mapping[str, Sequence[int]], *, batch: int, file: str | None = None
) -> dict[str, Shape]:
    """Return the shape of each input.

    Parameters
    ----------
    inputs
        The inputs' sizes, by name.
    shapes
        The user's shapes for some inputs. A named size that they fix is fixed for the other inputs too.
    batch
        The value of a first size that is still open.

    Raises
    ------
    UsageError
        A shape is for an unknown input or contradicts the model's axes or sizes, or sizes remain open.
    """
    known: dict[str, int] = {}
    for name, shape in shapes.items():
        if name not in inputs:
            raise UsageError(f"the model has no input {name!r}", file=file, remedy=f"its inputs: {', '.join(inputs)}")
        _match(name, inputs[name], shape, known, file)
    for sizes in inputs.values():
        if sizes and isinstance(sizes[0], str):
            known.setdefault(sizes[0], batch)
    found: dict[str, Shape] = {}
    for name, sizes in inputs.items():
        whole = [known.get(size, 0) if isinstance(size, str) else size for size in sizes]
        if 0 in whole:
            example = ",".join(str(size or "N") for size in whole)
            message = f"the input {name!r} leaves sizes open: {_spell(sizes)}"
            raise UsageError(message, file=file, remedy=f"give --shape {name}={example}")
        found[name] = tuple(whole)
    return found


def _match(name: str, sizes: Sizes, shape: Sequence[int], known: dict[str, int], file: str | None) -> None:
    """Record the sizes that a shape fixes; raise a UsageError if it doesn't fit the input."""
    if len(shape) != len(sizes) or min(shape, default=1) < 1:
        raise UsageError(f"the input {name!r} has the sizes {_spell(sizes)}, not {_spell(shape)}", file=file)
    for size, given in zip(sizes, shape, strict=True):
        if isinstance(size, str):
            if known.setdefault(size, given) != given:
                raise UsageError(f"the size {size!r} can't be both {known[size]} and {given}", file=file)
        elif size != given:
            message = f"the input {name!r} has the fixed sizes {_spell(sizes)}, not {_spell(shape)}"
            raise UsageError(message, file=file, remedy="export the model for other sizes")


def _spell(sizes: Sizes) -> str:
    return ",".join(map(str, sizes)) or "()"
