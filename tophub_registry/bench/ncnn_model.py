"""Translates an ONNX model to ncnn by its converter, pnnx."""

from __future__ import annotations

import subprocess
from importlib.util import find_spec
from pathlib import Path

from tophub_registry.errors import EnvironmentFailure, UsageError

_LONGEST = 1200.0  # seconds
_HEADER = 2  # lines before those of the layers


def pnnx_program() -> str:
    """Return the path of pnnx's program, without importing its module, which would load PyTorch.

    Raises
    ------
    ModuleNotFoundError
        pnnx is not installed.
    """
    spec = find_spec("pnnx")
    if spec is None or not spec.submodule_search_locations:
        raise ModuleNotFoundError("No module named 'pnnx'", name="pnnx")
    return str(Path(spec.submodule_search_locations[0]) / "pnnx")


def ncnn_model(model: bytes, program: str, folder: Path) -> tuple[Path, Path]:
    """Write an ONNX model, with its weights inside, as ncnn's files into a folder.

    Returns
    -------
    parameters, weights
        The files that `Net.load_param` and `Net.load_model` take. The weights are in float32.

    Raises
    ------
    UsageError
        pnnx can't translate the model, or ncnn lacks a layer that it needs.
    EnvironmentFailure
        pnnx can't be started.
    """
    (folder / "model.onnx").write_bytes(model)
    try:
        run = subprocess.run(
            [program, "model.onnx", "fp16=0"], cwd=folder, capture_output=True, timeout=_LONGEST, check=False
        )
    except OSError as error:
        raise EnvironmentFailure(f"can't be started: {error.strerror}", file=program) from error
    except subprocess.TimeoutExpired as error:
        raise UsageError(f"pnnx did not translate this model in {_LONGEST:.0f} s") from error
    parameters, weights = folder / "model.ncnn.param", folder / "model.ncnn.bin"
    if run.returncode or not parameters.exists() or not weights.exists():
        raise UsageError(f"pnnx can't translate this model: exit code {run.returncode}")
    if missing := _unknown_layers(parameters):
        raise UsageError(f"ncnn has no layer for {', '.join(missing)}, which pnnx left in this model")
    return parameters, weights


def _unknown_layers(parameters: Path) -> list[str]:
    import ncnn

    lines = parameters.read_text(encoding="utf-8").splitlines()[_HEADER:]
    kinds = {line.split()[0] for line in lines if line.strip()}
    return sorted(kind for kind in kinds if ncnn.layer_to_index(kind) < 0)
