"""A compiled model's records against AutoTVM's default configs: `tophub compile --verify`."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from tophub_registry.devices.device import check_runs_here
from tophub_registry.measurement.measure import Measurer
from tophub_registry.proof.comparison import ROUNDS, time_in_turns

if TYPE_CHECKING:
    from tophub_registry.compiler.choice import Kernel
    from tophub_registry.compiler.compiled import CompiledModel


class LosingKernel(NamedTuple):
    """A model's kernel whose record should not be used, and why."""

    kernel: Kernel
    reason: str


def losing(compiled: CompiledModel, *, rounds: int = ROUNDS) -> list[LosingKernel]:
    """Return the kernels of a model whose records lose against AutoTVM's default config.

    Parameters
    ----------
    rounds
        How often each kernel is timed.

    Raises
    ------
    EnvironmentFailure
        This machine can't run code for the model's target, or a default config can't be measured.
    """
    kernels = {
        record.workload: (kernel, record)
        for kernel in (layer.kernel for layer in compiled.layers)
        if kernel is not None and (record := kernel.answer.record) is not None
    }
    check_runs_here(compiled.target)
    lost = []
    with Measurer(compiled.target) as measurer:
        for kernel, record in kernels.values():
            (timed,) = time_in_turns(kernel.template, [record], measurer, rounds=rounds)
            if (reason := timed.loss()) is not None:
                lost.append(LosingKernel(kernel, reason))
    return lost
