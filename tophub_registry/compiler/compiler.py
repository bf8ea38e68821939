"""A whole model compiled with records: read, its layers' kernels chosen, fused, scheduled, built.

Needs the extras [compile] and, to read models, [models].
"""

from __future__ import annotations

import functools
import shutil
import tempfile
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tophub_registry.compiler.choice import Kernel
from tophub_registry.compiler.failures import Failure, KernelFailures, LeftOut, compiler_failure, unbuildable
from tophub_registry.compiler.profile import KernelTime, profile
from tophub_registry.devices.device import check_runs_here, compiled_for, resolve
from tophub_registry.devices.threads import settle_threads
from tophub_registry.errors import EnvironmentFailure, InputError
from tophub_registry.files import atomic_write
from tophub_registry.frontends.mxnet import ImportedModel, import_model
from tophub_registry.packages.index import Notice
from tophub_registry.packages.location import find_location
from tophub_registry.packages.root import Root
from tophub_registry.packages.sources import Sources, find_sources
from tophub_registry.records.lookup import Answer, Match, Source, lookup_each
from tophub_registry.records.record import workload_key
from tophub_registry.records.target import Target
from tophub_registry.tasks.layers import Layer
from tophub_registry.templates.neighbours import Neighbourhood

if TYPE_CHECKING:
    import numpy as np

    from tophub_registry.compiler.lowering import Lowered

    Array = np.ndarray[Any, Any]

_WARM_UP = 3


@dataclass(frozen=True)
class CompiledLayer:
    """A layer and how it is computed.

    Attributes
    ----------
    layer
        The layer, as the model names it.
    kernel
        Its template and config, and the record that they are from; None where no template covers the layer and
        TVM's own computation is used.
    """

    layer: Layer
    kernel: Kernel | None

    @property
    def match(self) -> Match:
        """How well the record's target matches; `FALLBACK` for another workload's config, `NONE` for a default one."""
        return Match.NONE if self.kernel is None else self.kernel.answer.match

    @property
    def recorded(self) -> bool:
        """Whether it has a record that was measured on the target's own kind of device, no other processor or GPU."""
        return self.match >= Match.ARCHITECTURE or (self.kernel is not None and self.kernel.instead_of is not None)

    @property
    def evidence(self) -> Answer | None:
        """The layer's best record, where there are only other processors', whether it is used or not."""
        return None if self.kernel is None else self.kernel.evidence


@dataclass(frozen=True)
class CompiledModel:
    """A model that can be run.

    Attributes
    ----------
    imported
        What was compiled.
    target
        What it was compiled for, spelled out.
    layers
        The convolutions and dense layers, in the model's order.
    notices
        What else the reader should know of the records.
    left_out
        Records that are not used, since they can't be built.
    executable
        TVM's `relax.VMExecutable`.
    scheduled
        The module that it was compiled of, and the target.
    """

    imported: ImportedModel
    target: Target
    layers: list[CompiledLayer] = field(repr=False)
    notices: tuple[Notice, ...]
    left_out: tuple[LeftOut, ...]
    executable: Any = field(repr=False)
    scheduled: tuple[Any, Any] = field(repr=False)

    def run(self, *arrays: Array) -> list[Array]:
        """Run the model on this machine.

        Parameters
        ----------
        arrays
            The inputs in their order, with the shapes of `imported.inputs`.

        Raises
        ------
        UsageError
            An input is missing or has another shape.
        EnvironmentFailure
            This machine can't run code for the target.
        """
        outputs = self._main(*map(self._on_device, self.imported.checked(arrays)))
        return [output.numpy() for output in ([outputs] if hasattr(outputs, "numpy") else outputs)]

    def benchmark(self, *arrays: Array, repeats: int = 30) -> list[float]:
        """Time whole runs, one by one, and return the seconds of each; the inputs are on the device before.

        Parameters
        ----------
        arrays
            The inputs; by default random ones.
        """
        inputs = self._inputs(arrays)
        times = []
        for _ in range(_WARM_UP + repeats):
            began = time.perf_counter()
            self._main(*inputs)
            self._device.sync()
            times.append(time.perf_counter() - began)
        return times[_WARM_UP:]

    def profile(self, *arrays: Array, runs: int = 5) -> list[KernelTime]:
        """Time each kernel, and return them, the slowest first.

        Parameters
        ----------
        arrays
            The inputs; by default random ones.
        runs
            How often to run the model; the fastest counts.
        """
        from tvm import relax

        # A kernel in a CUDA graph can't be waited for while the graph is made.
        machine = relax.VirtualMachine(self.without_graph, self._device)
        return profile(machine, self._device, self._inputs(arrays), runs)

    def export(self, path: str | Path, *, overwrite: bool = True) -> None:
        """Write a shared library, which `tvm.runtime.load_module` and `relax.VirtualMachine` take.

        Raises
        ------
        UsageError
            The file is there, and is not to be overwritten.
        EnvironmentFailure
            There is no C++ compiler, which links it, or the file can't be written.
        """
        check_linker()
        with tempfile.TemporaryDirectory(prefix="tophub-library-") as folder:
            linked = Path(folder) / "model.so"
            try:
                self.executable.export_library(str(linked))
            except RuntimeError as error:
                raise EnvironmentFailure(f"can't be linked: {_linkers_word(error)}", file=path) from error
            with atomic_write(path, overwrite=overwrite) as stream, linked.open("rb") as library:
                shutil.copyfileobj(library, stream)

    def _inputs(self, arrays: Sequence[Array]) -> list[Any]:
        import numpy as np

        if not arrays:
            rng = np.random.default_rng(0)
            arrays = [rng.normal(size=shape).astype(dtype) for shape, dtype in self.imported.inputs.values()]
        return [self._on_device(array) for array in self.imported.checked(arrays)]

    def _on_device(self, array: Array) -> Any:
        import tvm

        return tvm.runtime.tensor(array, self._device)

    @functools.cached_property
    def without_graph(self) -> Any:
        """The `relax.VMExecutable` that launches each kernel by itself; on a CPU all do."""
        return _executable(*self.scheduled, graph=False) if self.target.kind == "cuda" else self.executable

    @functools.cached_property
    def _device(self) -> Any:
        import tvm

        check_runs_here(self.target)
        return tvm.cuda(0) if self.target.kind == "cuda" else tvm.cpu()

    @functools.cached_property
    def _main(self) -> Any:
        from tvm import relax

        return relax.VirtualMachine(self.executable, self._device)["main"]


def _linkers_word(error: RuntimeError) -> str:
    """Return the last line that the linker said; TVM puts a heading before and the command line behind."""
    lines = [line for line in str(error).splitlines() if line.strip()]
    return next((line for line in reversed(lines) if not line.startswith("Command line:")), "no reason given")


def check_linker() -> None:
    """Raise EnvironmentFailure where there is no C++ compiler, which TVM has link shared libraries."""
    from tvm.support import cc

    if cc.get_cc() is None:
        raise EnvironmentFailure("there is no C++ compiler to link a library", remedy="install g++, or set CXX")


def compile_model(
    model: Any,
    target: str = "llvm",
    *,
    records: Sequence[str | Path] | None = None,
    batch: int = 1,
    shapes: Mapping[str, Sequence[int]] | None = None,
    params: Path | None = None,
    left_out: Collection[Kernel] = (),
) -> CompiledModel:
    """Compile a model with the records of a target's package, or with one's own.

    On a processor it runs on all those that this process may use, unless `TVM_NUM_THREADS` says otherwise, and where
    TVM has not started its threads before.

    Parameters
    ----------
    model
        What `import_model` takes, or what it returned.
    target
        A target as logs spell it; `llvm` alone is this machine's processor, `cuda` alone its GPU.
    records
        Logs to take the records from; None: the target's package, fetched if need be.
    batch, shapes, params
        As `import_model` takes them.
    left_out
        Kernels whose records are not to be used.

    Raises
    ------
    UsageError
        There is no such model or target, or the model has an operator that can't be translated.
    InputError
        A log or a model's file is missing or damaged.
    EnvironmentFailure
        The package can't be had, the target's compiler is missing, or it fails where no record is to blame.
    """
    settle_threads()
    resolved = resolve(target)
    sources = _sources(resolved, records)
    imported = (
        model if isinstance(model, ImportedModel) else import_model(model, batch=batch, shapes=shapes, params=params)
    )
    search = _Search(resolved, sources, left_out)
    unbuilt: list[LeftOut] = []
    while True:
        try:
            lowered, executable, scheduled = _build(imported.module, resolved, search.find)
            break
        except KernelFailures as found:
            blamed = [failure for failure in found.failures if failure.has_record]
            if not blamed:
                failure = found.failures[0]
                raise compiler_failure(failure.cause, f"the layer {failure.layers[0]}") from failure.cause
            for failure in blamed:
                search.avoid(failure.kernel)
            unbuilt += map(unbuildable, blamed)
    layers = [CompiledLayer(layer, kernel) for layer, kernel in lowered.layers]
    return CompiledModel(
        imported, resolved, layers, sources.notices, (*lowered.left_out, *unbuilt), executable, scheduled
    )


class _Search:
    """Finds a model's records, without those that are not to be used."""

    def __init__(self, target: Target, sources: Sources, left_out: Collection[Kernel]) -> None:
        self._target, self._sources = target, sources
        self._avoided = {(kernel.template.task, repr(kernel.template.args), _spelled(kernel)) for kernel in left_out}
        # A workload whose record loses against the default gets no neighbour's config either, of which less is known.
        self._alone = {_workload(kernel) for kernel in left_out}

    def avoid(self, kernel: Kernel) -> None:
        """Leave out the record that a kernel is from."""
        if kernel.neighbour is None:
            self._avoided.add((kernel.template.task, repr(kernel.template.args), _spelled(kernel)))
        else:
            self._alone.add(_workload(kernel))

    def find(self, workloads: Collection[str]) -> tuple[dict[str, list[Answer]], Neighbourhood]:
        """Return the records of each workload, and those that its neighbours may have."""
        found = lookup_each(self._target, self._sources.logs, workloads)
        answers = {key: [its for its in each if self._usable(its)] for key, each in found.answers.items()}
        # What another processor's records say of other layers is no evidence of anything.
        alike = [its for its in found.alike if self._usable(its) and not its.match.is_evidence_only(self._target)]
        return answers, Neighbourhood(alike, excluded=self._alone)

    def _usable(self, answer: Answer) -> bool:
        record = answer.record
        return (
            record is None
            or (record.input.task, repr(record.input.args), repr(record.config.entity)) not in self._avoided
        )


def _spelled(kernel: Kernel) -> str:
    return repr(kernel.config.entity)


def _workload(kernel: Kernel) -> str:
    return workload_key(kernel.template.task, kernel.template.args, {})


def _sources(target: Target, records: Sequence[str | Path] | None) -> Sources:
    if records is None:
        return find_sources(target, find_location(), Root.at())
    for path in records:
        if not Path(path).exists():
            raise InputError("no such file", file=path)
    return Sources(tuple(Source(str(path), Path(path)) for path in records), ())


def _build(
    module: Any, target: Target, find: Callable[[Collection[str]], tuple[dict[str, list[Answer]], Neighbourhood]]
) -> tuple[Lowered, Any, tuple[Any, Any]]:
    """Lower, fuse, schedule and compile a Relax module; return what it was compiled of too.

    Raises
    ------
    KernelFailures
        Kernels can't be scheduled or compiled.
    EnvironmentFailure
        Something else can't, or a compiler is missing.
    """
    import tvm

    from tophub_registry.compiler.detection import detection_on_gpu
    from tophub_registry.compiler.lowering import lower
    from tophub_registry.compiler.schedules import SchedulingFailures, schedule_all

    description = compiled_for(target)
    made_for = tvm.target.Target(description, host="llvm") if target.kind == "cuda" else tvm.target.Target(description)
    lowered = lower(module, target, find)
    try:
        ready = detection_on_gpu(lowered.module, made_for) if target.kind == "cuda" else lowered.module
        scheduled = schedule_all(_fused(ready, made_for), made_for, lowered.kernels)
    except SchedulingFailures as found:
        raise _of_layers(found.causes, lowered) from found
    except Exception as error:
        raise compiler_failure(error, "the model") from error
    try:
        return lowered, _executable(scheduled, made_for, graph=target.kind == "cuda"), (scheduled, made_for)
    except FileNotFoundError as error:
        raise EnvironmentFailure(
            f"a compiler is missing: {error}", remedy="CUDA code needs nvcc on the PATH"
        ) from error
    except Exception as error:
        if causes := _uncompiled(scheduled, made_for):
            raise _of_layers(causes, lowered) from error
        raise compiler_failure(error, "the model") from error


def _executable(scheduled: Any, target: Any, *, graph: bool) -> Any:
    """Compile a scheduled module; with `graph` its kernels are launched as one CUDA graph."""
    import tvm

    with tvm.transform.PassContext(opt_level=3, config={"relax.backend.use_cuda_graph": graph}):
        return tvm.compile(scheduled, target=target)


def _fused(module: Any, target: Any) -> Any:
    import tvm
    from tvm import relax

    with target:
        return tvm.transform.Sequential(
            [
                relax.transform.LegalizeOps(),
                relax.transform.AnnotateTIROpPattern(),
                relax.transform.FoldConstant(),
                relax.transform.FuseOps(),
                relax.transform.FuseTIR(),
                relax.transform.DeadCodeElimination(),
            ]
        )(module)


def _uncompiled(module: Any, target: Any) -> dict[int, Exception]:
    """Compile each kernel of a scheduled module by itself, and return what TVM raised, by the kernels' numbers."""
    import tvm

    from tophub_registry.compiler.lowering import KERNEL

    causes: dict[int, Exception] = {}
    for name, function in module.functions_items():
        number = function.attrs and function.attrs.get(KERNEL)
        if number is None:
            continue
        try:
            tvm.compile(tvm.IRModule({name: function.with_attr("global_symbol", name.name_hint)}), target=target)
        except Exception as error:  # noqa: BLE001  # whatever TVM and the compilers behind it raise
            causes[int(number)] = error
    return causes


def _of_layers(causes: Mapping[int, Exception], lowered: Lowered) -> KernelFailures:
    kernels = ((lowered.kernels[number], cause) for number, cause in causes.items())
    return KernelFailures([Failure(kernel, lowered.layers_of(kernel), cause) for kernel, cause in kernels])
