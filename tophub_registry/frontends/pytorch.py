"""Reads PyTorch programs of `torch.export`, in memory or saved, with TVM's own front end."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from tophub_registry.errors import InputError, MissingExtra, UsageError
from tophub_registry.frontends.model import Model
from tophub_registry.frontends.relax import fixed_sizes
from tophub_registry.frontends.torn import unreadable

if TYPE_CHECKING:
    import numpy as np


@dataclass(frozen=True)
class TorchProgram:
    """A program of `torch.export`.

    Attributes
    ----------
    program
        The `torch.export.ExportedProgram`.
    """

    framework: ClassVar[str] = "PyTorch"

    program: Any = field(repr=False)

    def run(self, inputs: Mapping[str, np.ndarray[Any, Any]]) -> list[np.ndarray[Any, Any]]:
        """Return the outputs for inputs given by name, in the program's order."""
        import torch
        from torch.utils import _pytree as pytree

        tensors = [torch.from_numpy(array.copy()) for array in inputs.values()]
        positional, named = pytree.tree_unflatten(tensors, self.program.call_spec.in_spec)
        with torch.no_grad():
            outputs = self.program.module()(*positional, **named)
        return [output.numpy() for output in pytree.tree_leaves(outputs) if isinstance(output, torch.Tensor)]

    def save(self, path: Path) -> None:
        """Write the program."""
        import torch

        torch.export.save(self.program, path)


def read(model: Any, *, batch: int = 1, shapes: Mapping[str, Sequence[int]] | None = None) -> Model:
    """Translate a program of `torch.export`.

    Parameters
    ----------
    model
        The program, or the path of a file that `torch.export.save` wrote. Open only files that you trust.
    batch, shapes
        See `frontends.onnx.read`; for programs with dynamic shapes.

    Raises
    ------
    UsageError
        The shapes don't fit the program, or leave sizes open.
    InputError
        The file is missing, or is not a program.
    MissingExtra
        PyTorch or TVM is not installed.
    """
    try:
        import torch

        from tophub_registry.frontends.pytorch_importer import import_program
    except ImportError as error:
        raise MissingExtra("torch", error) from error

    from tophub_registry.frontends.normal_form import in_normal_form

    file = str(model) if isinstance(model, (str, Path)) else None
    program = _load(Path(model)) if file else model
    if not isinstance(program, torch.export.ExportedProgram):
        raise UsageError(
            f"a {type(program).__name__} is not a program of torch.export",
            remedy="torch.export.export(model, (input,))",
        )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            module, weights = import_program(program)
        except Exception as error:  # TVM's front end can raise anything
            raise InputError(f"TVM can't read this program: {error}", file=file) from error
    module = fixed_sizes(module, shapes or {}, batch=batch, file=file, weights=[*weights])
    result = in_normal_form(module, weights)
    params = result["main"].params
    return Model(
        name=file or "program",
        module=result,
        inputs={param.name: (tuple(map(int, param.ty.shape)), str(param.ty.dtype)) for param in params},
        outputs=[*map(str, program.graph_signature.user_outputs)],
        original=TorchProgram(program),
    )


def _load(path: Path) -> Any:
    import torch

    if not path.is_file():
        raise InputError("no such file", file=path)
    said = logging.getLogger("torch.export")  # it logs a traceback of what it raises as well
    before = said.level
    said.setLevel(logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return torch.export.load(path)
    except Exception as error:  # torch can raise anything
        remedy = "torch.export.save(torch.export.export(model, (input,)), 'model.pt2')"
        raise unreadable(path, "a program that torch.export.save wrote", remedy=remedy) from error
    finally:
        said.setLevel(before)
