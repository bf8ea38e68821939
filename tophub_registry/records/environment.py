"""The environment in which records were measured, as far as it can be read: what a contribution says of its machine.

Everything in it is a claim too. Reading it is `devices.environment`'s, and whether records fit is `proof.acceptance`'s.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, PositiveFloat, PositiveInt


class Clocks(BaseModel):
    """A processor's or GPU's clocks, in MHz; None where the system does not say.

    Attributes
    ----------
    now, highest
        When the environment was read, and the highest that the device may have.
    governor
        Linux's policy for a processor's clock: 'performance', 'schedutil'.
    """

    model_config = ConfigDict(frozen=True, strict=True, extra="allow")

    now: PositiveFloat | None = None
    highest: PositiveFloat | None = None
    governor: str | None = None


class Environment(BaseModel):
    """A machine, its device, and the software that compiled and ran the kernels.

    Attributes
    ----------
    target
        The device as a target: `llvm -mcpu=znver4`, `cuda -model=h100`.
    device
        The device's own name, as provenance has it.
    architecture
        LLVM's name of the processor, or the GPU's `sm_90a`.
    vendor
        The processor's maker as CPUID has it, 'AuthenticAMD', or 'NVIDIA'; None if unknown.
    threads, bind_threads
        TVM's threads, and whether each is bound to a core, for a processor.
    cores
        Cores that the process may use.
    peak_gflops
        The measured float32 peak, in 10^9 operations a second.
    driver
        The GPU's driver.
    compiler
        'LLVM 22', or 'nvcc 12.4'.
    clocks
        The device's clocks.
    system, python, tvm, tophub
        The kernel of the operating system, and versions.
    machine
        An anonymous number of the machine: a hash, from which its identity can't be computed.
    """

    model_config = ConfigDict(frozen=True, strict=True, extra="allow")

    target: str
    device: str
    architecture: str
    vendor: str | None = None
    threads: PositiveInt | None = None
    bind_threads: bool | None = None
    cores: PositiveInt | None = None
    peak_gflops: FiniteFloat | None = None
    driver: str | None = None
    compiler: str
    clocks: Clocks = Clocks()
    system: str
    python: str
    tvm: str
    tophub: str
    machine: Annotated[str, Field(pattern="^[0-9a-f]{1,64}$")] | None = None
