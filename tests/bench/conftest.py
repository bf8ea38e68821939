"""Networks in ONNX Runtime and in PyTorch.

PyTorch runs in a process of its own: it and MXNet do not go together. $TOPHUB_TORCH_PYTHON names another
environment's interpreter, which needs nothing else but this package.
"""

from __future__ import annotations

import functools
import importlib.util
import os
import subprocess
import sys

import pytest

from tophub_registry.bench.network import Network
from tophub_registry.bench.prepared import read_arrays, write_arrays

TORCH = r"""
import sys, torch
from pathlib import Path
from tophub_registry.bench.prepared import read_arrays, write_arrays
from tophub_registry.bench.network import Network
from tophub_registry.bench.torch_module import torch_module
for line in sys.stdin:
    folder = Path(line.rstrip())
    inputs = [torch.from_numpy(array) for array in read_arrays(folder / "inputs.npz")]
    try:
        with torch.inference_mode():
            traced = torch.jit.trace(torch_module(Network.read(folder)), inputs)
            write_arrays(folder / "outputs.npz", [output.numpy() for output in traced(*inputs)])
        print("done", flush=True)
    except Exception as error:
        print(repr(error).replace("\n", " "), flush=True)
"""


@pytest.fixture(scope="module")
def torch_process():
    """Return a process that answers each folder with a network by its outputs."""
    python = os.environ.get("TOPHUB_TORCH_PYTHON", sys.executable)
    if python == sys.executable and importlib.util.find_spec("torch") is None:
        pytest.skip("needs the extra [bench], or $TOPHUB_TORCH_PYTHON")
    command = [python, "-W", "ignore", "-c", TORCH]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        yield process
        process.stdin.close()


@pytest.fixture(params=["onnxruntime", "pytorch"])
def framework(request):
    """Return what computes a network in a framework."""
    if request.param == "onnxruntime":
        return onnxruntime
    return functools.partial(pytorch, request.getfixturevalue("torch_process"))


def onnxruntime(network: Network, inputs, _):
    pytest.importorskip("onnx", reason="needs the extra [bench]")
    runtime = pytest.importorskip("onnxruntime", reason="needs the extra [bench]")
    from tophub_registry.bench.onnx_model import onnx_model

    session = runtime.InferenceSession(onnx_model(network), providers=["CPUExecutionProvider"])
    return session.run([*network.outputs], dict(zip(network.inputs, inputs, strict=True)))


def pytorch(process, network: Network, inputs, folder):
    network.write(folder)
    write_arrays(folder / "inputs.npz", inputs)
    process.stdin.write(f"{folder}\n")
    process.stdin.flush()
    answer = process.stdout.readline().strip()
    if answer != "done":
        raise RuntimeError(answer)
    return read_arrays(folder / "outputs.npz")
