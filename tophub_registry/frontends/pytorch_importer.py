"""TVM's importer of `torch.export` programs, extended to represent unknown operators by placeholders."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from tvm import relax
from tvm.relax.frontend.torch.exported_program_translator import ExportedProgramImporter

from tophub_registry.tasks.reading import UNTRANSLATED


def import_program(program: torch.export.ExportedProgram) -> tuple[Any, dict[str, np.ndarray[Any, Any]]]:
    """Return a program as a Relax module whose weights are parameters, and the weights by parameter name."""
    decomposed = program.run_decompositions()
    importer = _Importer()
    module = importer.from_exported_program(decomposed, True, True, False, None)  # TVM takes no names
    main = module["main"]
    count = int(main.attrs["num_input"])
    values = [tensor.numpy() for tensor in main.attrs["params"]]
    weights = {param.name: value for param, value in zip(main.params[count:], values, strict=True)}
    module["main"] = main.without_attr("params").without_attr("num_input")
    return module, weights


class _Importer(ExportedProgramImporter):  # type: ignore[misc]  # TVM has no types
    """Imports one program."""

    def __init__(self) -> None:
        super().__init__()
        self.convert_map: dict[str, Any] = {
            name: self._or_opaque(convert) for name, convert in self.convert_map.items()
        }

    def _check_unsupported_func_type(self, nodes: Any) -> None:
        """Add converters that insert placeholders for unsupported operators."""
        for node in nodes:
            if node.op == "call_function" and node.target.__name__ not in self.convert_map:
                self.convert_map[node.target.__name__] = self._opaque

    def _or_opaque(self, convert: Callable[..., Any]) -> Callable[..., Any]:
        def converted(node: Any, *more: Any) -> Any:
            try:
                return convert(node, *more)
            except Exception as error:  # noqa: BLE001  # TVM can raise anything
                try:
                    return self._opaque(node)
                except TypeError:
                    raise error from None

        return converted

    def _opaque(self, node: Any) -> Any:
        """Return a placeholder for a node.

        Raises
        ------
        TypeError
            Its outputs are not tensors with known shapes.
        """
        meant = node.meta.get("val")
        tensors = [value for value in torch.utils._pytree.tree_leaves(self.retrieve_args(node)) if _is_tensor(value)]  # noqa: SLF001
        symbol = UNTRANSLATED + str(node.target).removeprefix("aten.")
        kinds = [_type_of(value) for value in (meant if isinstance(meant, (list, tuple)) else [meant])]
        outputs = [
            self.block_builder.emit(relax.call_pure_packed(symbol, *tensors, ty_args=kind), name_hint=node.name)
            for kind in kinds
        ]
        return outputs if isinstance(meant, (list, tuple)) else outputs[0]


def _is_tensor(value: Any) -> bool:
    return isinstance(value, relax.Expr) and isinstance(value.ty, relax.TensorType)


def _type_of(value: Any) -> Any:
    if not isinstance(value, torch.Tensor) or not all(isinstance(size, int) for size in value.shape):
        raise TypeError
    return relax.TensorType(list(value.shape), str(value.dtype).removeprefix("torch."))
