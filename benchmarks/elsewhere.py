"""gluoncv's models on a machine without MXNet, such as one with a GPU: written here, with random weights there.

    python benchmarks/elsewhere.py write FOLDER --models i3d_nl5_resnet50_v1_kinetics400 danet_resnet50_citys
    python benchmarks/elsewhere.py restore FOLDER/danet_resnet50_citys.json.xz --into MODELS
    python benchmarks/precisions.py --models MODELS/danet_resnet50_citys …

`write` makes a file of some 50 kB: the network, what can't be random, such as anchors, and the mean and the standard
deviation of each weight. Beside it are the model's tasks for CUDA in float32. `restore` draws weights with these means
and deviations, always the same ones, and writes a folder like `tophub bench --prepare`'s, without MXNet's outputs:
`--references` computes them by plain TVM, or by PyTorch, which is faster.
"""

from __future__ import annotations

import argparse
import base64
import json
import lzma
import sys
import tempfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

_COMPRESSIBLE = 0.6
"""Weights that zlib compresses to this share are no random numbers."""


def write(name: str, folder: Path) -> None:
    """Write a model of the zoo without its weights, and its tasks."""
    from tophub_registry.bench.relax_files import FUNCTION, WEIGHTS, write_module
    from tophub_registry.frontends import read_model

    model = read_model(name)
    model.check_translated()
    with tempfile.TemporaryDirectory() as scratch:
        write_module(Path(scratch), model.module)
        function = (Path(scratch) / FUNCTION).read_text(encoding="utf-8")
        with np.load(Path(scratch) / WEIGHTS) as archive:
            weights = [described(archive[key]) for key in archive.files]
    said = {
        "name": name,
        "function": function,
        "weights": weights,
        "inputs": {key: [list(shape), dtype] for key, (shape, dtype) in model.inputs.items()},
        "outputs": list(model.outputs),
    }
    (folder / f"{name}.json.xz").write_bytes(lzma.compress(json.dumps(said).encode()))
    tasks = model.tasks("cuda", own=True)
    (folder / f"{name}.tasks.json").write_text(tasks.model_dump_json(), encoding="utf-8")


def described(array: np.ndarray[Any, Any]) -> dict[str, Any]:
    """Return what is needed to draw a weight anew, or the weight itself."""
    said = {"shape": array.shape, "dtype": str(array.dtype)}
    small = zlib.compress(array.tobytes(), 1)
    if array.dtype.kind != "f" or len(small) < _COMPRESSIBLE * array.nbytes:
        return {**said, "exactly": base64.b64encode(small).decode()}
    return {**said, "mean": float(array.mean()), "deviation": float(array.std())}


@dataclass(frozen=True)
class InPyTorch:
    """A Relax module, translated to PyTorch."""

    framework: ClassVar[str] = "PyTorch"

    module: Any

    def run(self, inputs: Mapping[str, np.ndarray[Any, Any]]) -> list[np.ndarray[Any, Any]]:
        """Return the outputs for inputs given by name."""
        import torch

        from tophub_registry.bench.relax_network import network_of
        from tophub_registry.bench.torch_module import torch_module

        with torch.inference_mode():
            found = torch_module(network_of(self.module))(*map(torch.from_numpy, inputs.values()))
        return [output.numpy() for output in found]


def restore(path: Path, into: Path, gain: float = 1.0, *, references: str | None = None) -> Path:
    """Write the folder of a model with random weights, and return it.

    Its outputs are there too if `references` says what computes them: `tvm` or `pytorch`.
    """
    from tophub_registry.bench.prepared import write_prepared
    from tophub_registry.bench.relax_files import FUNCTION, WEIGHTS, read_module
    from tophub_registry.frontends.model import Model
    from tophub_registry.frontends.relax import RelaxModule

    said = json.loads(lzma.decompress(path.read_bytes()))
    rng = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as scratch:
        (Path(scratch) / FUNCTION).write_text(said["function"], encoding="utf-8")
        np.savez(Path(scratch) / WEIGHTS, *(drawn(each, rng, gain) for each in said["weights"]))
        module = read_module(Path(scratch))
    inputs = {name: (tuple(shape), dtype) for name, (shape, dtype) in said["inputs"].items()}
    original = InPyTorch(module) if references == "pytorch" else RelaxModule(module)
    model = Model(said["name"], module, inputs, said["outputs"], original, random_weights=True)
    into.mkdir(parents=True, exist_ok=True)
    return write_prepared(model, into / said["name"], references=references is not None).folder


def drawn(said: dict[str, Any], rng: np.random.Generator, gain: float = 1.0) -> np.ndarray[Any, Any]:
    """Return a weight: what was written, or uniformly distributed ones with its mean and `gain` times its deviation."""
    if "exactly" in said:
        numbers = np.frombuffer(zlib.decompress(base64.b64decode(said["exactly"])), said["dtype"])
        return numbers.reshape(said["shape"])
    reach = gain * said["deviation"] * 3**0.5
    values = rng.random(said["shape"], dtype=np.float32) * (2 * reach) + (said["mean"] - reach)
    return values.astype(said["dtype"])


def main() -> None:
    """Write or restore."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    writing = commands.add_parser("write")
    writing.add_argument("folder", type=Path)
    writing.add_argument("--models", nargs="+", required=True)
    restoring = commands.add_parser("restore")
    restoring.add_argument("files", nargs="+", type=Path)
    restoring.add_argument("--into", type=Path, required=True)
    restoring.add_argument("--gain", type=float, default=1.0, help="below 1: for networks that amplify what is rounded")
    restoring.add_argument("--references", choices=["tvm", "pytorch"], help="compute outputs, for `tophub bench`")
    given = parser.parse_args()
    if given.command == "write":
        given.folder.mkdir(parents=True, exist_ok=True)
        for name in given.models:
            write(name, given.folder)
            sys.stderr.write(f"{name}\n")
    else:
        for path in given.files:
            sys.stderr.write(f"{restore(path, given.into, given.gain, references=given.references)}\n")


if __name__ == "__main__":
    main()
