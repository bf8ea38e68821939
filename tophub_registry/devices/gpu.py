"""CUDA devices: the GPU of this machine, its model as targets spell it, and its architecture as NVCC does."""

from __future__ import annotations

import re
from typing import Any

from tophub_registry.errors import EnvironmentFailure

# The words around a GPU's model in its name: 'NVIDIA H100 80GB HBM3', 'NVIDIA GeForce RTX 3090'.
_AROUND_MODEL = re.compile(r"NVIDIA|GeForce|Tesla|\d+GB|HBM\w*|PCIe|SXM\w*|[^A-Za-z0-9]")


def model_of(name: str) -> str:
    """Return a GPU's model, as written in targets, from its name: 'h100' for 'NVIDIA H100 80GB HBM3'."""
    return _AROUND_MODEL.sub("", name).lower()


_WITH_MORE_INSTRUCTIONS = {"sm_90": "sm_90a"}
"""The names by which a compiler may use instructions that later GPUs do not have."""


def in_full(architecture: str) -> str:
    """Return the name of an architecture with all of its instructions: `sm_90a` for `sm_90`, others as they are."""
    return _WITH_MORE_INSTRUCTIONS.get(architecture, architecture)


def architecture_of(gpu: Any) -> str:
    """Return the architecture of a CUDA device, here or behind RPC: `sm_86`; with all instructions, so `sm_90a`.

    Parameters
    ----------
    gpu
        A `tvm.runtime.Device` that exists.
    """
    return in_full("sm_" + str(gpu.compute_version).replace(".", ""))


def this_gpu() -> Any:
    """Return the `tvm.runtime.Device` of this machine's GPU.

    Raises
    ------
    EnvironmentFailure
        There is none.
    """
    import tvm

    gpu = tvm.cuda(0)
    if not gpu.exist:
        raise EnvironmentFailure(
            "no CUDA device found",
            remedy="choose another --target, or name the GPU to compile for: --target 'cuda -model=h100 -arch=sm_90'",
        )
    return gpu
