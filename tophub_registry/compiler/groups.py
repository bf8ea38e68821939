"""Which values of a function share a layout, and the kernels chosen for these layouts."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

from tvm import relax

from tophub_registry.compiler.choice import PLAIN, Kernel, Use, choose_blocks
from tophub_registry.compiler.layouts import bytes_of, images, is_agnostic, is_image, joins_unevenly, values_of
from tophub_registry.tasks.reading import calls_of, shape_of

Kernels = Mapping[Any, Sequence[Kernel]]
Agnostic = Callable[[relax.Call], bool]


class Groups:
    """The groups of values that share a layout, each with the layout that makes a function fastest.

    Parameters
    ----------
    candidates
        The kernels that can compute each layer, by its variable.
    agnostic
        Returns whether an operator works on channels in blocks too.
    apart
        Such operators that work on the plain layout all the same.

    Attributes
    ----------
    kernels
        The kernel chosen for each layer.
    seconds
        The estimated time of the kernels and layout changes.
    """

    def __init__(
        self, main: relax.Function, candidates: Kernels, agnostic: Agnostic, apart: Collection[Any] = ()
    ) -> None:
        self._calls = dict(calls_of(main))
        self._agnostic = {
            var for var, call in self._calls.items() if var not in candidates and var not in apart and agnostic(call)
        }
        self._parents: dict[Any, Any] = {}
        for var, call in self._calls.items():
            for value in images(call) if var in self._agnostic else ():
                self._join(value, var)
        bindings = [binding for block in main.body.blocks for binding in block.bindings]
        uses = self._uses(candidates)
        channels = self._channels((*main.params, *(binding.var for binding in bindings)), uses.values())
        wanted = [*main.params]
        for binding in bindings:
            if binding.var not in candidates and binding.var not in self._agnostic:
                wanted += [*values_of(binding.value), binding.var]
        self._blocks, self.seconds = choose_blocks(list(uses.values()), channels, self._plain(wanted))
        self.kernels = {var: use.best(self._blocks)[1] for var, use in uses.items()}

    def block(self, value: Any) -> int:
        """Return the block size for a value."""
        return self._blocks.get(self._root(value), PLAIN)

    def is_agnostic(self, var: Any) -> bool:
        """Return whether an operator works on the layout of its group."""
        return var in self._agnostic

    def _root(self, value: Any) -> Any:
        while (parent := self._parents.get(value, value)) is not value:
            value = parent
        return value

    def _join(self, a: Any, b: Any) -> None:
        a, b = self._root(a), self._root(b)
        if a is not b:
            self._parents[a] = b

    def _uses(self, candidates: Kernels) -> dict[Any, Use]:
        uses = {}
        for var, kernels in candidates.items():
            data = self._calls[var].args[0]
            uses[var] = Use(self._root(data), self._root(var), bytes_of(data), bytes_of(var), kernels)
        return uses

    def _channels(self, values: Collection[Any], uses: Collection[Use]) -> dict[Any, int]:
        """Return for each group the greatest common divisor of its images' channels."""
        numbers: dict[Any, list[int]] = {}
        for value in filter(is_image, values):
            numbers.setdefault(self._root(value), []).append(shape_of(value)[1])
        groups = {group: math.gcd(*its) for group, its in numbers.items()}
        for use in uses:  # a dense layer's values are not images, and keep the plain layout
            for group in (use.data, use.output):
                groups.setdefault(group, 1)
        return groups

    def _plain(self, wanted: Collection[Any]) -> dict[Any, int]:
        """Return for each group the number of bytes that operators read or write in the plain layout."""
        plain: dict[Any, int] = {}
        for value in filter(is_image, wanted):
            group = self._root(value)
            plain[group] = plain.get(group, 0) + bytes_of(value)
        return plain


def fastest_groups(main: relax.Function, candidates: Kernels, agnostic: Agnostic = is_agnostic) -> Groups:
    """Return the groups of a function's values.

    A concatenation's parts share the layout of the whole, unless their numbers of channels allow only narrow blocks and
    the function is expected to be faster if it has the plain one.
    """
    together = Groups(main, candidates, agnostic)
    uneven = {var for var, call in calls_of(main) if joins_unevenly(call)}
    if not uneven:
        return together
    return min(together, Groups(main, candidates, agnostic, uneven), key=lambda groups: groups.seconds)
