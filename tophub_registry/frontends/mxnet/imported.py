"""A model in Relax, beside the MXNet symbol that it was translated from."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

from tophub_registry.errors import MissingExtra, UsageError
from tophub_registry.frontends.mxnet import libraries
from tophub_registry.tasks.layers import Shape

if TYPE_CHECKING:
    import numpy as np

    from tophub_registry.frontends.mxnet.source import Source


@dataclass(frozen=True)
class ImportedModel:
    """A model in Relax.

    Attributes
    ----------
    module
        A `tvm.IRModule` with the function `main`. It takes the inputs in their order, and gives a tensor, or a tuple
        of tensors where there are several outputs.
    inputs
        Shape and dtype, by name.
    outputs
        Names, in their order.
    symbol
        The MXNet symbol.
    weights
        The weights before anything was folded, by name, in float32.
    random_weights
        Whether they are random, as those of a name alone are.
    """

    module: Any = field(repr=False)
    inputs: Mapping[str, tuple[Shape, str]]
    outputs: list[str]
    symbol: Any = field(repr=False)
    weights: Mapping[str, np.ndarray[Any, Any]] = field(repr=False)
    random_weights: bool = False

    def reference(self, *arrays: np.ndarray[Any, Any]) -> list[np.ndarray[Any, Any]]:
        """Run the original with MXNet on the CPU.

        Parameters
        ----------
        arrays
            The inputs, in their order, in float32.

        Raises
        ------
        UsageError
            An array is missing or has another shape.
        """
        mx = libraries.mxnet()
        named = {name: mx.nd.array(array) for name, array in zip(self.inputs, self.checked(arrays), strict=True)}
        return [output.asnumpy() for output in self._executor.forward(is_train=False, **named)]

    def checked(self, arrays: Sequence[Any]) -> list[np.ndarray[Any, Any]]:
        """Return inputs as arrays of the model's dtypes.

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
            raise UsageError(f"the inputs have the shapes {given}, and the model takes {wanted} ({names})")
        return [np.asarray(array, dtype) for array, (_, dtype) in zip(arrays, self.inputs.values(), strict=True)]

    @cached_property
    def _executor(self) -> Any:
        mx = libraries.mxnet()
        shapes = {name: shape for name, (shape, _) in self.inputs.items()}
        with _without_subgraphs():
            executor = self.symbol.simple_bind(mx.cpu(), grad_req="null", **shapes)
        for bound in (executor.arg_dict, executor.aux_dict):
            for name in bound.keys() & self.weights.keys():
                bound[name][:] = self.weights[name]
        return executor


@contextmanager
def _without_subgraphs() -> Iterator[None]:
    """Keep MXNet from fusing operators, at which it fails where a convolution's output is needed twice."""
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


def translate_source(source: Source) -> ImportedModel:
    """Translate a model that was read; see `import_model`."""
    try:
        from tophub_registry.frontends.mxnet.translation import translate
    except ImportError as error:
        raise MissingExtra("compile", error) from error
    from tophub_registry.frontends.mxnet.batch_norm import fold_batch_norms
    from tophub_registry.frontends.mxnet.class_boxes import gather_class_boxes
    from tophub_registry.frontends.mxnet.constants import fold_constants
    from tophub_registry.frontends.mxnet.graph import read_graph
    from tophub_registry.frontends.mxnet.weights import weights_of

    graph = read_graph(source.symbol, source.inputs, file=source.file)
    values = weights_of(source, graph.variables)
    folded = gather_class_boxes(fold_batch_norms(fold_constants(replace(graph, values=values))))
    return ImportedModel(
        module=translate(folded, source.inputs, file=source.file),
        inputs={name: (shape, "float32") for name, shape in source.inputs.items()},
        outputs=list(source.symbol.list_outputs()),
        symbol=source.symbol,
        weights={variable.name: values[variable.entry] for variable in graph.variables},
        random_weights=source.weights is None,
    )
