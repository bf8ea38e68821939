"""Whole models with the registry's records against other frameworks and plain apache-tvm, in one run.

`python benchmarks/models.py --metaschedule 600 --output FOLDER`: MXNet, PyTorch, ONNX Runtime, OpenVINO and ncnn, two
threads each; apache-tvm both untuned and with MetaSchedule given so many seconds for each model before
(`benchmarks/metaschedule.py`; `--database FOLDER` goes on with what it tuned in an earlier run). `--python
pytorch=/other/bin/python` names another environment's PyTorch, as for `tophub bench`.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

MODELS = ("resnet18_v1", "ssd_512_resnet50_v1_voc")
PEERS = "gluoncv,pytorch,onnxruntime,openvino,ncnn,tvm"
BENCH = [sys.executable, "-m", "tophub_registry.cli", "bench"]


def bench(model: str, chosen: argparse.Namespace, folder: Path) -> int:
    """Run `tophub bench` for a model, after MetaSchedule had its time; return its exit code."""
    prepared, database, against = folder / model, chosen.database / model, PEERS
    subprocess.run([*BENCH, model, f"--prepare={prepared}"], check=True)
    if chosen.metaschedule:
        command = [sys.executable, str(Path(__file__).with_name("metaschedule.py")), str(prepared)]
        command += [f"--seconds={chosen.metaschedule}", f"--threads={chosen.threads}", f"--output={database}"]
        log = database.with_suffix(".txt")
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("w", encoding="utf-8") as stream:
            subprocess.run(command, check=True, stdout=stream, stderr=subprocess.STDOUT)
    if database.exists():
        against += ",metaschedule"
    command = [*BENCH, str(prepared), f"--against={against}", f"--database={database}"]
    command += [f"--threads={chosen.threads}", f"--rounds={chosen.rounds}", f"--target={chosen.target}"]
    command += [f"--log={path}" for path in chosen.log] + [f"--python={option}" for option in chosen.python]
    if chosen.output is not None:
        command += [f"--output={chosen.output / model}{ending}" for ending in (".json", ".html")]
    return subprocess.run(command, check=False).returncode


def main() -> None:
    """Run `tophub bench` for each model."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", nargs="+", default=[*MODELS], choices=MODELS)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--target", default="llvm")
    parser.add_argument("--metaschedule", type=float, default=0, help="seconds of tuning for each model")
    parser.add_argument("--database", type=Path, default=Path(".cache/metaschedule"), help="folder of its databases")
    parser.add_argument("--log", type=Path, action="append", default=[])
    parser.add_argument("--python", action="append", default=[], metavar="FRAMEWORK=PATH")
    parser.add_argument("--output", type=Path, help="folder for MODEL.json and MODEL.html")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="tophub-models-") as folder:
        sys.exit(max(bench(model, chosen, Path(folder)) for model in chosen.models))


if __name__ == "__main__":
    main()
