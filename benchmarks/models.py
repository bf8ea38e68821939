"""Whole models with the registry's records against MXNet, PyTorch, ONNX Runtime and apache-tvm untuned, in one run.

Two threads each. `--python pytorch=/other/bin/python` names another environment's PyTorch, as for `tophub bench`.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

# An untuned detector takes half a minute a run, and says nothing new.
MODELS = {
    "resnet18_v1": "gluoncv,pytorch,onnxruntime,tvm",
    "ssd_512_resnet50_v1_voc": "gluoncv,pytorch,onnxruntime",
}


def main() -> None:
    """Run `tophub bench` for each model."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", nargs="+", default=[*MODELS], choices=MODELS)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--target", default="llvm")
    parser.add_argument("--log", type=Path, action="append", default=[])
    parser.add_argument("--python", action="append", default=[], metavar="FRAMEWORK=PATH")
    parser.add_argument("--output", type=Path, help="folder for MODEL.json and MODEL.html")
    chosen = parser.parse_args()
    failed = 0
    for model in chosen.models:
        command = [sys.executable, "-m", "tophub_registry.cli", "bench", model, "--against", MODELS[model]]
        command += [f"--threads={chosen.threads}", f"--rounds={chosen.rounds}", f"--target={chosen.target}"]
        command += [f"--log={path}" for path in chosen.log] + [f"--python={option}" for option in chosen.python]
        if chosen.output is not None:
            command += [f"--output={chosen.output / model}{ending}" for ending in (".json", ".html")]
        failed |= subprocess.run(command, check=False).returncode
        print()
    sys.exit(failed)


if __name__ == "__main__":
    main()
