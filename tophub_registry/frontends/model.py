"""A model as read by any front end."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from tophub_registry.errors import UsageError
from tophub_registry.records.task import TaskFile
from tophub_registry.tasks.extract import tasks_as_computed, tasks_of
from tophub_registry.tasks.layers import Layer, Shape
from tophub_registry.tasks.rules import FLOAT32

if TYPE_CHECKING:
    import numpy as np

_NAMED = 5
"""Maximum number of layers that an error names."""


class Original(Protocol):
    """The model in its original framework."""

    framework: ClassVar[str]
    """The display name of the framework that runs it: `MXNet`, `ONNX Runtime`."""

    def run(self, inputs: Mapping[str, np.ndarray[Any, Any]]) -> list[np.ndarray[Any, Any]]:
        """Return the outputs for inputs given by name.

        Raises
        ------
        MissingExtra
            The framework is not installed.
        """


@dataclass(frozen=True)
class Model:
    """A model in Relax.

    Attributes
    ----------
    name
        Its name in a model zoo, or the file it was read from.
    module
        A `tvm.IRModule` in normal form with the function `main`. It takes the inputs in order, and returns a
        tensor, or a tuple of tensors if there are several outputs. Weights are constants. An operator that could
        not be translated is a call of an external function (`tasks.reading.untranslated`).
    inputs
        Shape and dtype, by name.
    outputs
        Names, in order.
    original
        The model as it was read.
    random_weights
        Whether the weights are random, as they are for a model given by name only.
    """

    name: str
    module: Any = field(repr=False)
    inputs: Mapping[str, tuple[Shape, str]]
    outputs: Sequence[str]
    original: Original = field(repr=False)
    random_weights: bool = False

    @property
    def layers(self) -> list[Layer]:
        """The layers that do arithmetic, in order of execution."""
        from tophub_registry.tasks.reading import layers_of

        return list(layers_of(self.module["main"]).values())

    def tasks(self, kind: str, *, own: bool = False, precision: str = FLOAT32) -> TaskFile:
        """Return the tuning tasks for a kind of target, each distinct workload once.

        Parameters
        ----------
        own
            Whether to include the tasks of templates that AutoTVM does not have.
        precision
            See `tasks.rules.workloads`.

        Raises
        ------
        UsageError
            There are no templates for this kind of target.
        """
        shapes = {name: list(shape) for name, (shape, _) in self.inputs.items()}
        tasks = tasks_of(self.layers, kind, own=own, precision=precision)
        if own:
            from tophub_registry.tasks.computed import as_computed
            from tophub_registry.tasks.reading import layers_of

            main = self.module["main"]
            if (computed := as_computed(main, kind, precision)) is not main:
                tasks = tasks_as_computed(tasks, layers_of(computed).values(), kind, precision)
        untranslated = {operator: [*names] for operator, names in self.untranslated.items()}
        return TaskFile(model=self.name, kind=kind, shapes=shapes, tasks=tasks, untranslated=untranslated)

    @property
    def untranslated(self) -> Mapping[str, Sequence[str]]:
        """The operators that could not be translated to Relax, and the names of the layers that use them."""
        from tophub_registry.tasks.reading import untranslated

        return untranslated(self.module["main"])

    def check_translated(self) -> None:
        """Check that the whole model can be compiled.

        Raises
        ------
        UsageError
            Some operators could not be translated; the error names them and their layers.
        """
        if missing := self.untranslated:
            raise UsageError(f"{self.name}: {why_refused(missing)}")

    def reference(self, *arrays: np.ndarray[Any, Any]) -> list[np.ndarray[Any, Any]]:
        """Run the original in its own framework, on the CPU.

        Parameters
        ----------
        arrays
            The inputs, in order.

        Raises
        ------
        UsageError
            An array is missing or has another shape.
        MissingExtra
            The framework is not installed.
        """
        return self.original.run(dict(zip(self.inputs, self.checked(arrays), strict=True)))

    def checked(self, arrays: Sequence[Any]) -> list[np.ndarray[Any, Any]]:
        """Return the inputs as arrays of the model's dtypes.

        Raises
        ------
        UsageError
            There are too many or too few, or one has another shape.
        """
        import numpy as np

        given = [np.shape(array) for array in arrays]
        wanted = [tuple(shape) for shape, _ in self.inputs.values()]
        if given != wanted:
            names = ", ".join(self.inputs)
            raise UsageError(f"the inputs have the shapes {given}, but the model takes {wanted} ({names})")
        return [np.asarray(array, dtype) for array, (_, dtype) in zip(arrays, self.inputs.values(), strict=True)]

    def random_inputs(self, seed: int = 0) -> list[np.ndarray[Any, Any]]:
        """Return random inputs: normally distributed floats; zeros and ones for integers."""
        import numpy as np

        rng = np.random.default_rng(seed)
        return [
            np.asarray(rng.normal(size=shape), dtype)
            if np.dtype(dtype).kind == "f"
            else np.asarray(rng.integers(0, 2, size=shape), dtype)
            for shape, dtype in self.inputs.values()
        ]


def why_refused(untranslated: Mapping[str, Sequence[str]]) -> str:
    """Return why a model can't be compiled: its untranslated operators, and the layers that use them."""
    spelled = "; ".join(f"{operator} (layers: {listed(names)})" for operator, names in untranslated.items())
    return f"the operator{'s' if len(untranslated) > 1 else ''} {spelled} can't be translated to Relax"


def listed(names: Sequence[str]) -> str:
    """Return the first few names, and the number of the others."""
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return ", ".join(names[:_NAMED]) + more
