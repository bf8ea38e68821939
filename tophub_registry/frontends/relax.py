"""Reads Relax modules from any front end, in memory or saved as JSON."""

from __future__ import annotations

import zlib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar
from zipfile import BadZipFile

from tophub_registry.errors import EnvironmentFailure, InputError, MissingExtra, UsageError
from tophub_registry.frontends.model import Model
from tophub_registry.frontends.shapes import fixed
from tophub_registry.frontends.torn import unreadable

if TYPE_CHECKING:
    import numpy as np


@dataclass(frozen=True)
class RelaxModule:
    """A Relax module, run as TVM compiles it for a generic processor, without records.

    Attributes
    ----------
    module
        A `tvm.IRModule` whose function `main` has fixed sizes and takes the model's inputs as parameters.
    """

    framework: ClassVar[str] = "TVM, untuned"

    module: Any = field(repr=False)

    def run(self, inputs: Mapping[str, np.ndarray[Any, Any]]) -> list[np.ndarray[Any, Any]]:
        """Return the outputs for inputs given by name."""
        import tvm

        outputs = self._main(*(tvm.runtime.tensor(array) for array in inputs.values()))
        return [output.numpy() for output in ([outputs] if hasattr(outputs, "numpy") else outputs)]

    @cached_property
    def _main(self) -> Any:
        import tvm
        from tvm import relax

        executable = tvm.compile(self.module, target=tvm.target.Target("llvm"))
        return relax.VirtualMachine(executable, tvm.cpu())["main"]


def read(
    model: Any, *, batch: int = 1, shapes: Mapping[str, Sequence[int]] | None = None, params: Path | None = None
) -> Model:
    """Read a Relax module.

    Parameters
    ----------
    model
        A `tvm.IRModule`, or the path of a file with the output of `tvm.ir.save_json`.
    batch, shapes
        See `frontends.onnx.read`; for modules with symbolic sizes.
    params
        An `.npz` file with values for parameters of `main`, by name. Values in the function's attribute `params`,
        where some front ends put them, are bound without it.

    Raises
    ------
    UsageError
        There is no function `main`, or the shapes don't fit it or leave sizes open.
    InputError
        A file is missing or malformed.
    MissingExtra
        TVM is not installed.
    """
    try:
        import tvm
        from tvm import relax
    except ImportError as error:
        raise MissingExtra("compile", error) from error

    from tophub_registry.frontends.normal_form import in_normal_form, is_plain

    file = str(model) if isinstance(model, (str, Path)) else None
    module = _load(Path(model)) if file else tvm.IRModule(model.functions, model.attrs)
    main = next((function for name, function in module.functions_items() if name.name_hint == "main"), None)
    if not isinstance(main, relax.Function):
        names = ", ".join(name.name_hint for name in module.get_global_vars())
        raise UsageError("the module has no Relax function 'main'", file=file, remedy=f"rename one of {names}")
    weights = _weights(main, params)
    if main.attrs and "params" in main.attrs:
        module["main"] = main.without_attr("params").without_attr("num_input")
    module = fixed_sizes(module, shapes or {}, batch=batch, file=file, weights=[*weights])
    if not is_plain(module["main"]):
        raise UsageError(
            "main has branches, side effects or sizes that are only known at run time",
            file=file,
            remedy="use apply_records, which leaves such functions unchanged",
        )
    bound = relax.transform.BindParams("main", dict(weights))(module) if weights else module
    result = in_normal_form(module, weights)
    return Model(
        name=file or "module",
        module=result,
        inputs={p.name: (tuple(map(int, p.ty.shape)), str(p.ty.dtype)) for p in result["main"].params},
        outputs=_outputs(result["main"]),
        original=RelaxModule(bound),
    )


def fixed_sizes(
    module: Any,
    shapes: Mapping[str, Sequence[int]],
    *,
    batch: int,
    file: str | None,
    weights: Collection[str] = (),
) -> Any:
    """Return a module with numbers for the symbolic sizes of its inputs.

    Raises
    ------
    UsageError
        The shapes don't fit, or leave sizes open.
    """
    from tvm import relax, tirx

    sizes: dict[str, list[int | str]] = {}
    symbols: dict[str, Any] = {}
    for param in module["main"].params:
        if param.name in weights or not isinstance(param.ty, relax.TensorType) or param.ty.shape is None:
            continue
        sizes[param.name] = []
        for size in param.ty.shape:
            if isinstance(size, tirx.IntImm):
                sizes[param.name].append(int(size))
            else:
                name = str(size)
                symbols[name] = size
                sizes[param.name].append(name)
    found = fixed(sizes, shapes, batch=batch, file=file)
    if not symbols:
        return module
    numbers = {
        symbols[name]: number
        for param, names in sizes.items()
        for name, number in zip(names, found[param], strict=True)
        if isinstance(name, str) and isinstance(symbols[name], tirx.Var)
    }
    return relax.transform.BindSymbolicVars(numbers, "main")(module)


def _weights(main: Any, params: Path | None) -> dict[str, np.ndarray[Any, Any]]:
    """Return the values of the parameters that have one."""
    import numpy as np

    found = {}
    if main.attrs and "params" in main.attrs:
        count = int(main.attrs["num_input"])
        values = [tensor.numpy() for tensor in main.attrs["params"]]
        found = {param.name: value for param, value in zip(main.params[count:], values, strict=True)}
    if params is None:
        return found
    try:
        with params.open("rb") as stream, np.load(stream) as archive:
            given = {name: archive[name] for name in archive.files}
    except FileNotFoundError as error:
        raise InputError("no such file", file=params) from error
    except OSError as error:
        raise EnvironmentFailure(f"can't be read: {error.strerror or error}", file=params) from error
    except (ValueError, EOFError, BadZipFile, zlib.error, AttributeError) as error:
        raise unreadable(params, "an .npz file of numpy.savez") from error
    names = {param.name for param in main.params}
    if unknown := sorted({*given} - names):
        raise InputError(f"main has no parameter {unknown[0]!r}", file=params, remedy=f"it has {', '.join(names)}")
    return {**found, **given}


def _outputs(main: Any) -> list[str]:
    from tvm import relax

    kind = main.ret_ty
    return [f"output{i}" for i in range(len(kind.fields))] if isinstance(kind, relax.TupleType) else ["output"]


def _load(path: Path) -> Any:
    import tvm

    try:
        module = tvm.ir.load_json(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise InputError("no such file", file=path) from error
    except OSError as error:
        raise EnvironmentFailure(f"can't be read: {error.strerror or error}", file=path) from error
    except Exception as error:  # TVM can raise anything
        raise unreadable(path, "a module that tvm.ir.save_json wrote") from error
    if not isinstance(module, tvm.IRModule):
        raise InputError(f"holds a {type(module).__name__}, not a Relax module", file=path)
    return module
