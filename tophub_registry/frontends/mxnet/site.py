"""An operator being translated: its translated inputs, and the Relax function to add to."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NoReturn, TypeAlias

import numpy as np

from tophub_registry.frontends.mxnet.attributes import Attributes
from tophub_registry.frontends.mxnet.graph import Node
from tophub_registry.tasks.layers import Shape

Array = np.ndarray[Any, Any]
Expression: TypeAlias = Any
"""A Relax expression."""


class Untranslatable(Exception):  # noqa: N818  # it never reaches a user: the operator becomes an opaque call
    """An operator can't be translated in this form.

    Attributes
    ----------
    form
        A description of the form: `with a computed weight`.
    """

    def __init__(self, form: str) -> None:
        super().__init__(form)
        self.form = form


@dataclass(frozen=True)
class Site:
    """A node with the values of its inputs.

    Attributes
    ----------
    values
        An array if the value is known, else the Relax variable.
    builder
        The current `relax.BlockBuilder`.
    """

    node: Node
    values: tuple[Array | Expression, ...]
    builder: Any

    @property
    def attributes(self) -> Attributes:
        """The node's attributes."""
        return self.node.attributes

    @property
    def shape(self) -> Shape:
        """The shape of the first output that is used."""
        return next(iter(self.node.shapes.values()))

    def __len__(self) -> int:
        return len(self.values)

    def shape_of(self, index: int) -> Shape:
        """Return an input's shape."""
        value = self.values[index]
        return value.shape if isinstance(value, np.ndarray) else tuple(map(int, value.ty.shape))

    def type_of(self, index: int) -> str:
        """Return an input's dtype."""
        value = self.values[index]
        return str(value.dtype if isinstance(value, np.ndarray) else value.ty.dtype)

    @property
    def type(self) -> str:
        """The dtype of the first output that is used."""
        return next(iter(self.node.types.values()))

    def tensor(self, index: int) -> Expression:
        """Return an input as a Relax expression."""
        value = self.values[index]
        return constant(value, str(value.dtype)) if isinstance(value, np.ndarray) else value

    def tensors(self) -> list[Expression]:
        """Return all inputs as Relax expressions."""
        return [self.tensor(index) for index in range(len(self.values))]

    def array(self, index: int) -> Array:
        """Return an input that must be known, such as a weight.

        Raises
        ------
        Untranslatable
            It depends on the network's input.
        """
        value = self.values[index]
        if not isinstance(value, np.ndarray):
            self.refuse("with a computed weight")
        return value

    def emit(self, expression: Expression, what: str = "") -> Expression:
        """Add an expression to the function; the variable is named after the layer and its part."""
        return self.builder.emit(expression, name_hint=f"{self.node.name}_{what}" if what else self.node.name)

    def refuse(self, form: str) -> NoReturn:
        """Reject this form of the operator.

        Raises
        ------
        Untranslatable
            Always.
        """
        raise Untranslatable(form)


def constant(value: Array | float, dtype: str = "float32") -> Expression:
    """Return a constant."""
    from tvm import relax

    return relax.const(np.asarray(value, dtype), dtype)
