"""A symbol with its weights, run in MXNet itself."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from tophub_registry.frontends.mxnet import libraries
from tophub_registry.frontends.mxnet.ignored_regions import with_ignored_regions_zero
from tophub_registry.tasks.layers import Shape

if TYPE_CHECKING:
    import numpy as np


@dataclass(frozen=True)
class MXNetModel:
    """An MXNet model.

    Attributes
    ----------
    symbol
        The MXNet symbol.
    inputs
        The inputs' shapes, by name.
    weights
        The weights before folding, by name, in float32.
    """

    framework: ClassVar[str] = "MXNet"

    symbol: Any = field(repr=False)
    inputs: Mapping[str, Shape]
    weights: Mapping[str, np.ndarray[Any, Any]] = field(repr=False)

    def run(self, inputs: Mapping[str, np.ndarray[Any, Any]]) -> list[np.ndarray[Any, Any]]:
        """Return the outputs for float32 inputs given by name; regions that ROIAlign ignores are zero."""
        mx = libraries.mxnet()
        named = {name: mx.nd.array(array) for name, array in inputs.items()}
        return [output.asnumpy() for output in self._executor.forward(is_train=False, **named)]

    def save(self, symbol: Path, params: Path) -> None:
        """Write the symbol file and the weights file."""
        mx = libraries.mxnet()
        self.symbol.save(str(symbol))
        auxiliary = set(self.symbol.list_auxiliary_states())
        arrays = {("aux:" if name in auxiliary else "arg:") + name: mx.nd.array(w) for name, w in self.weights.items()}
        mx.nd.save(str(params), arrays)

    @cached_property
    def _executor(self) -> Any:
        mx = libraries.mxnet()
        with _without_subgraphs():
            symbol = with_ignored_regions_zero(self.symbol)
            executor = symbol.simple_bind(mx.cpu(), grad_req="null", **self.inputs)
        for bound in (executor.arg_dict, executor.aux_dict):
            for name in bound.keys() & self.weights.keys():
                bound[name][:] = self.weights[name]
        return executor


@contextmanager
def _without_subgraphs() -> Iterator[None]:
    """Keep MXNet from fusing operators, which fails if a convolution's output is used twice."""
    name = "MXNET_SUBGRAPH_BACKEND"
    before = os.environ.get(name)
    os.environ[name] = "NONE"
    try:
        yield
    finally:
        if before is None:
            del os.environ[name]
        else:
            os.environ[name] = before
