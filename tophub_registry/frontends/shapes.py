"""The sizes that a model leaves open, fixed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from tophub_registry.errors import UsageError
from tophub_registry.tasks.layers import Shape

Sizes = Sequence[int | str]
"""The sizes of an input: a number, or the name of one that is left open."""


def fixed(
    inputs: Mapping[str, Sizes], shapes: Mapping[str, Sequence[int]], *, batch: int, file: str | None = None
) -> dict[str, Shape]:
    """Return the shape of each input.

    Parameters
    ----------
    inputs
        The inputs' sizes, by name.
    shapes
        Shapes that the user gives for some inputs. A size that they fix by name holds for the others too.
    batch
        What a first size is that stays open.

    Raises
    ------
    UsageError
        A shape is of no input, has another number of axes or another size than the model has, or sizes stay open.
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
    """Note what sizes a shape fixes, or raise a UsageError where it is not one of this input."""
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
