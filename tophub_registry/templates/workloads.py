"""What the workloads of tasks have in common: a task's arguments as named numbers.

Sizes count elements; `flop` counts a multiplication and an addition as two, as in AutoTVM. Each workload has the
shapes of its tensors in the model's layout, and a reference computation in NumPy.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Protocol

from tophub_registry.errors import InputError
from tophub_registry.records.arguments import ArgumentError, shown, take

if TYPE_CHECKING:
    from numpy.typing import NDArray

MAX_SIZE = 1 << 20
"""The largest axis, stride, dilation or padding of a workload."""

MAX_ELEMENTS = (1 << 31) - 1
"""The most elements of a tensor: kernels count them in 32 bits."""


class Workload(Protocol):
    """What all workloads have."""

    @property
    def flop(self) -> int:
        """Floating-point operations."""

    @property
    def inputs(self) -> list[tuple[int, ...]]:
        """The shapes of the inputs, in the model's layout."""

    @property
    def output(self) -> tuple[int, ...]:
        """The shape of the output, in the model's layout."""

    @property
    def dtype(self) -> str:
        """The type of inputs and output."""

    def reference(self, inputs: list[NDArray[Any]]) -> NDArray[Any]:
        """Return the output for inputs in the model's layout, computed by NumPy in the inputs' dtype."""


def named(names: str, args: list[Any], what: str, axes: int = 2) -> dict[str, Any]:
    """Read arguments by name; InputError if there are too few or too many, or one has the wrong form."""
    try:
        values = take(names, args, axes)
    except ArgumentError as error:
        raise InputError(f"not the arguments of {what}: {error.message} in {shown(args)}") from None
    if len(args) != len(names.split()):
        raise InputError(f"not the arguments of {what}: {shown(args)}")
    return values


def data_and_kernel(
    values: dict[str, Any], args: list[Any], what: str, *, rank: int
) -> tuple[list[int], list[int], str]:
    """Return the shapes of data and kernel, and the dtype; InputError if the shapes have another rank."""
    (_, data, dtype), (_, kernel, _) = values["data"], values["kernel"]
    if len(data) != rank or len(kernel) != rank:
        raise InputError(f"not the arguments of {what}: {shown(args)}")
    return data, kernel, dtype


def check_sizes(args: list[Any], sizes: Sequence[Any], margins: Sequence[Any] = ()) -> None:
    """Raise an InputError unless all sizes are integers from 1 to MAX_SIZE, and all margins from 0."""
    for number, least in (*((size, 1) for size in sizes), *((margin, 0) for margin in margins)):
        if type(number) is not int or not least <= number <= MAX_SIZE:
            told = shown(number) if isinstance(number, int) else type(number).__name__
            raise InputError(f"{told} is not an integer from {least} to {MAX_SIZE}: {shown(args)}")


def check_tensors(args: list[Any], workload: Workload) -> None:
    """Raise an InputError if the output is empty, or a tensor is too large."""
    if min(workload.output) < 1:
        raise InputError(f"the kernel is larger than the padded data: {shown(args)}")
    if max(map(math.prod, (*workload.inputs, workload.output))) > MAX_ELEMENTS:
        raise InputError(f"a tensor has more than {MAX_ELEMENTS} elements: {shown(args)}")
