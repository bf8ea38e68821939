"""A compiled model: run, timed, profiled, exported."""

from __future__ import annotations

import functools
import shutil
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tophub_registry.compiler.choice import Kernel
from tophub_registry.compiler.failures import LeftOut
from tophub_registry.compiler.profile import KernelTime, profile
from tophub_registry.devices.device import check_runs_here
from tophub_registry.devices.pages import use_huge_pages
from tophub_registry.devices.threads import run_with
from tophub_registry.errors import EnvironmentFailure
from tophub_registry.files import atomic_write
from tophub_registry.frontends import Model
from tophub_registry.packages.index import Notice
from tophub_registry.records.lookup import Answer, Match
from tophub_registry.records.record import Record
from tophub_registry.records.target import Target
from tophub_registry.tasks.layers import Layer

if TYPE_CHECKING:
    import numpy as np

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
    def beaten(self) -> Answer | None:
        """The layer's best record, if tuning found the default configs faster in the model than any of its records."""
        return None if self.kernel is None else self.kernel.beaten

    @property
    def evidence(self) -> Answer | None:
        """The layer's best record, where there are only other processors', whether it is used or not."""
        return None if self.kernel is None else self.kernel.evidence


@dataclass(frozen=True)
class CompiledModel:
    """A model that can be run.

    Attributes
    ----------
    model
        The model that was compiled.
    target
        The full target that it was compiled for.
    layers
        The convolutions and dense layers, in model order.
    notices
        Other notes on the records.
    left_out
        Records that are not used because they can't be built.
    executable
        TVM's `relax.VMExecutable`.
    scheduled
        The `build.Scheduled` module that it was compiled from.
    threads
        The number of threads that it runs on here; None on a GPU. If TVM's thread pool has already started with another
        number in this process, `run`, `benchmark` and `profile` warn.
    """

    model: Model
    target: Target
    layers: list[CompiledLayer] = field(repr=False)
    notices: tuple[Notice, ...]
    left_out: tuple[LeftOut, ...]
    executable: Any = field(repr=False)
    scheduled: Any = field(repr=False)
    threads: int | None

    @property
    def records(self) -> list[Record]:
        """The records of the layers that have one of their own, measured on hardware like the target's."""
        kernels = [layer.kernel for layer in self.layers if layer.kernel is not None and layer.kernel.evidence is None]
        return [kernel.answer.record for kernel in kernels if kernel.answer.record is not None]

    def run(self, *arrays: Array) -> list[Array]:
        """Run the model on this machine.

        Parameters
        ----------
        arrays
            The inputs in order, with the shapes of `model.inputs`.

        Raises
        ------
        UsageError
            An input is missing or has another shape.
        EnvironmentFailure
            This machine can't run code for the target.
        """
        run_with(self.threads)
        outputs = self._main(*map(self._on_device, self.model.checked(arrays)))
        return [output.numpy() for output in ([outputs] if hasattr(outputs, "numpy") else outputs)]

    def benchmark(self, *arrays: Array, repeats: int = 30) -> list[float]:
        """Time whole runs one by one, and return the seconds of each; copying the inputs to the device is not timed.

        Parameters
        ----------
        arrays
            The inputs; by default random ones.
        """
        run_with(self.threads)
        inputs = self._inputs(arrays)
        times = []
        for _ in range(_WARM_UP + repeats):
            began = time.perf_counter()
            self._main(*inputs)
            self._device.sync()
            times.append(time.perf_counter() - began)
        return times[_WARM_UP:]

    def profile(self, *arrays: Array, runs: int = 5) -> list[KernelTime]:
        """Time each kernel, and return the kernels, slowest first.

        Parameters
        ----------
        arrays
            The inputs; by default random ones.
        runs
            How often to run the model; the fastest counts.
        """
        from tvm import relax

        run_with(self.threads)
        inputs = self._inputs(arrays)
        self._main(*inputs)  # the weights are then in huge pages, as in other runs
        # A kernel in a CUDA graph can't be synchronized while the graph is captured.
        machine = relax.VirtualMachine(self.without_graph, self._device)
        return profile(machine, self._device, inputs, runs)

    def export(self, path: str | Path, *, overwrite: bool = True) -> None:
        """Write a shared library for `tvm.runtime.load_module` and `relax.VirtualMachine`.

        Raises
        ------
        UsageError
            The file exists, and `overwrite` is false.
        EnvironmentFailure
            There is no C++ compiler to link it, or the file can't be written.
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
        return [self._on_device(array) for array in self.model.checked(arrays or self.model.random_inputs())]

    def _on_device(self, array: Array) -> Any:
        import tvm

        return tvm.runtime.tensor(array, self._device)

    @functools.cached_property
    def without_graph(self) -> Any:
        """The `relax.VMExecutable` that launches each kernel separately, as it always is on a CPU."""
        from tophub_registry.compiler.build import executable

        return executable(self.scheduled, graph=False) if self.target.kind == "cuda" else self.executable

    @functools.cached_property
    def _device(self) -> Any:
        import tvm

        check_runs_here(self.target)
        return tvm.cuda(0) if self.target.kind == "cuda" else tvm.cpu()

    @functools.cached_property
    def _main(self) -> Callable[..., Any]:
        from tvm import relax

        main = relax.VirtualMachine(self.executable, self._device)["main"]
        return main if self.target.kind == "cuda" else _in_huge_pages(main)


def _in_huge_pages(main: Callable[..., Any]) -> Callable[..., Any]:
    """Return a model's function, which moves its memory into huge pages once it has run and allocated it."""
    moved = False

    def run(*inputs: Any) -> Any:
        nonlocal moved
        outputs = main(*inputs)
        if not moved:
            moved = True
            use_huge_pages()
        return outputs

    return run


def _linkers_word(error: RuntimeError) -> str:
    """Return the linker's last line, without TVM's heading and command line."""
    lines = [line for line in str(error).splitlines() if line.strip()]
    return next((line for line in reversed(lines) if not line.startswith("Command line:")), "no reason given")


def check_linker() -> None:
    """Raise EnvironmentFailure if there is no C++ compiler for TVM to link shared libraries with."""
    from tvm.support import cc

    if cc.get_cc() is None:
        raise EnvironmentFailure("there is no C++ compiler to link a library", remedy="install g++, or set CXX")
