"""Config spaces in plain Python: knobs, their options in AutoTVM's order, and `index` <-> entity both ways.

The order of enumeration is part of the format, since a record carries its config's index: the first knob
varies fastest, and a split's options are enumerated with the innermost factor slowest. Checked against the
spaces of real AutoTVM in the tests.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from typing import Any, Literal

from tophub_registry.errors import InputError
from tophub_registry.records.record import Config, Knob

MAX_WAYS = 1 << 16
"""The most ways to split an axis. No axis of a well-known network has a tenth as many."""

SplitPolicy = Literal["factors", "power2", "verbose"]


@dataclass(frozen=True)
class KnobSpace:
    """The options of one knob.

    Attributes
    ----------
    name
        Its name in the entity.
    kind
        `sp` a split, `re` an order of loops, `ot` any other option.
    options
        The values, in AutoTVM's order.
    extent
        For a split, the length of the axis.
    """

    name: str
    kind: Literal["sp", "re", "ot"]
    options: tuple[Any, ...]
    extent: int = 0

    @cached_property
    def _positions(self) -> dict[Any, int]:
        return {self._identity(option): position for position, option in enumerate(self.options)}

    def _identity(self, value: Any) -> Any:
        """Return a key that is equal for equal values; a split's outermost factor follows from the others."""
        if self.kind != "ot":
            return tuple((type(part), part) for part in value[self.kind == "sp" :])
        return (type(value), value)

    def position(self, value: Any) -> int:
        """Return the position of a value among the options.

        A split may give its outermost factor instead of -1, as records of older TVMs do.

        Raises
        ------
        InputError
            The value is not an option.
        """
        try:
            position = self._positions[self._identity(value)]
        except (KeyError, TypeError, IndexError):
            raise InputError(f"{value!r} is not an option of the knob {self.name}") from None
        if self.kind == "sp" and repr(value[0]) not in ("-1", str(-(-self.extent // math.prod(value[1:])))):
            raise InputError(f"the factors {value!r} of the knob {self.name} do not cover an axis of {self.extent}")
        return position


def split(  # the options of a split are AutoTVM's
    name: str,
    extent: int,
    *,
    parts: int,
    policy: SplitPolicy = "factors",
    max_factor: int | None = None,
    keep: Callable[[list[int]], bool] | None = None,
) -> KnobSpace:
    """Return the knob that splits an axis of length `extent` into `parts` factors, outermost first.

    Parameters
    ----------
    policy
        `factors`: divisors, without a tail. `power2`: powers of two. `verbose`: both. The last two may leave a
        tail.
    max_factor
        The largest factor.
    keep
        Which options to keep; by default all.

    Raises
    ------
    InputError
        There are more than `MAX_WAYS` ways to split the axis.
    """
    whole = _whole_split(name, extent, parts, policy, max_factor)
    return whole if keep is None else replace(whole, options=tuple(filter(keep, whole.options)))


@lru_cache(maxsize=4096)  # the workloads of a package share most of their axes
def _whole_split(name: str, extent: int, parts: int, policy: SplitPolicy, max_factor: int | None) -> KnobSpace:
    factors = _factors(extent, policy)
    if max_factor is not None:
        factors = [factor for factor in factors if factor <= max_factor]
    options = []
    ways = _tails(factors, extent, parts - 1, exact=policy == "factors")
    for number, reversed_tail in enumerate(ways):
        if number >= MAX_WAYS:
            raise InputError(f"there are more than {MAX_WAYS} ways to split an axis of {extent} into {parts} parts")
        options.append([-1, *reversed(reversed_tail)])
    return KnobSpace(name, "sp", tuple(options), extent)


def _tails(factors: Sequence[int], extent: int, count: int, *, exact: bool) -> Iterator[tuple[int, ...]]:
    """Yield the inner factors of each split, the innermost first and slowest; their product is at most `extent`.

    Parameters
    ----------
    exact
        Whether they must divide the axis.
    """
    if count == 0:
        yield ()
        return
    for factor in factors:
        if factor <= extent and (not exact or extent % factor == 0):
            for rest in _tails(factors, extent // factor, count - 1, exact=exact):
                yield factor, *rest


def knob(name: str, options: Iterable[Any]) -> KnobSpace:
    """Return a knob with the given options."""
    return KnobSpace(name, "ot", tuple(options))


def reorder(name: str, loops: int) -> KnobSpace:
    """Return the knob for the order of some loops: every order, each as the loops' numbers from the outermost one."""
    return KnobSpace(name, "re", tuple(map(list, itertools.permutations(range(loops)))))


def divisors(number: int) -> list[int]:
    """Return the divisors of a positive number, ascending."""
    small = [factor for factor in range(1, math.isqrt(number) + 1) if number % factor == 0]
    return sorted({*small, *(number // factor for factor in small)})


def _factors(extent: int, policy: SplitPolicy) -> list[int]:
    powers = [1 << exponent for exponent in range(extent.bit_length())]
    if policy == "factors":
        return divisors(extent)
    if policy == "power2":
        return powers
    # AutoTVM unites the two kinds in a set, and enumerates it in the order of CPython's hash table.
    return list(set(divisors(extent)) | set(powers))


class ConfigSpace:
    """All the configs of one workload: the product of its knobs.

    Parameters
    ----------
    knobs
        In the order in which the template defines them.
    """

    def __init__(self, knobs: Sequence[KnobSpace]) -> None:
        self.knobs = tuple(knobs)
        self.dimensions = tuple(len(knob.options) for knob in self.knobs)

    def __len__(self) -> int:
        return math.prod(self.dimensions)

    def __repr__(self) -> str:
        return f"ConfigSpace({len(self)}: {', '.join(f'{k.name} {len(k.options)}' for k in self.knobs)})"

    def positions(self, index: int) -> tuple[int, ...]:
        """Return each knob's position for a config's index.

        Raises
        ------
        IndexError
            The index is not in the space.
        """
        if not 0 <= index < len(self):
            raise IndexError(f"{index} is not in a space of {len(self)}")
        positions = []
        for dimension in self.dimensions:
            index, position = divmod(index, dimension)
            positions.append(position)
        return tuple(positions)

    def index(self, positions: Sequence[int]) -> int:
        """Return the index of the config with these positions of its knobs."""
        index = 0
        for dimension, position in zip(reversed(self.dimensions), reversed(positions), strict=True):
            index = index * dimension + position
        return index

    def config(self, index: int) -> Config:
        """Return the config with this index."""
        entity = [
            Knob(knob.name, knob.kind, knob.options[position])
            for knob, position in zip(self.knobs, self.positions(index), strict=True)
        ]
        return Config(index=index, code_hash=None, entity=entity)

    def find(self, entity: Sequence[Knob]) -> int:
        """Return the index of an entity, whose knobs may be in any order.

        Raises
        ------
        InputError
            A knob is missing, unknown, of another kind, or has a value that is not in the space.
        """
        given = {knob.name: knob for knob in entity}
        names = [knob.name for knob in self.knobs]
        if len(given) != len(entity) or set(given) != set(names):
            raise InputError(
                f"the knobs are {', '.join(k.name for k in entity) or 'missing'} instead of {', '.join(names)}"
            )
        positions = []
        for knob in self.knobs:
            if given[knob.name].kind != knob.kind:
                raise InputError(f"the knob {knob.name} is of kind {given[knob.name].kind}, not {knob.kind}")
            positions.append(knob.position(given[knob.name].value))
        return self.index(positions)

    def where(self, values: Mapping[str, Any]) -> ConfigSpace:
        """Return the subspace in which some knobs have given values; it has its own indices.

        Parameters
        ----------
        values
            By knob; for a split, its innermost factor. Knobs without such an option, and names the space does not
            have, are ignored.
        """

        def narrowed(knob: KnobSpace) -> KnobSpace:
            wanted = values.get(knob.name)
            kept = tuple(o for o in knob.options if (o[-1] if knob.kind == "sp" else o) == wanted)
            return replace(knob, options=kept) if kept else knob

        return ConfigSpace([narrowed(knob) for knob in self.knobs])

    def config_of(self, values: dict[str, Any]) -> Config:
        """Return the config with these values; its index is -1 if they are not in the space."""
        entity = [Knob(knob.name, knob.kind, values[knob.name]) for knob in self.knobs]
        try:
            index = self.find(entity)
        except InputError:
            index = -1
        return Config(index=index, code_hash=None, entity=entity)
