"""Whole models with the registry's records against none, other frameworks and plain apache-tvm, in one run.

`python benchmarks/models.py --metaschedule 600 --output FOLDER`: the model without records, MXNet, PyTorch, ONNX
Runtime, OpenVINO and ncnn, two threads each; apache-tvm both untuned and with MetaSchedule given so many seconds for
each model before (`benchmarks/metaschedule.py`; `--database FOLDER` goes on with what it tuned in an earlier run).
`--python pytorch=/other/bin/python` names another environment's PyTorch, as for `tophub bench`. A table of all models
comes last: below 1, ours takes less time. `--models all --against no-records` asks whether the package slows one down.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from statistics import geometric_mean
from typing import Any

from tophub_registry.bench.instructions import UNRESTRICTED

MODELS = (
    "cifar_resnet20_v1",
    "resnet18_v1",
    "resnet50_v1",
    "mobilenet1.0",
    "mobilenetv2_1.0",
    "squeezenet1.0",
    "se_resnext50_32x4d",
    "densenet121",
    "inceptionv3",
    "vgg16",
    "ssd_512_resnet50_v1_voc",
    "simple_pose_resnet18_v1b",
    "resnet34_v1",
    "resnet18_v1b",
    "mobilenetv3_large",
    "yolo3_mobilenet1.0_voc",
    "fcn_resnet50_voc",
    "shufflenet_v1",
)
"""What `--models all` stands for."""

DEFAULT = ("resnet18_v1", "ssd_512_resnet50_v1_voc")
AGAINST = "no-records,gluoncv,pytorch,onnxruntime,openvino,ncnn,tvm"
PEERS = ("gluoncv", "pytorch", "onnxruntime", "openvino", "ncnn")
"""The frameworks of which the table names the fastest."""

BENCH = [sys.executable, "-m", "tophub_registry.cli", "bench"]


def bench(model: str, chosen: argparse.Namespace, folder: Path) -> tuple[int, dict[str, Any] | None]:
    """Run `tophub bench` for a model, after MetaSchedule had its time; return its exit code and its results."""
    # A model may be a file: its name is enough for ours.
    name = Path(model).name
    prepared, database, outcome = folder / name, chosen.database / name, folder / f"{name}.outcome.json"
    if code := subprocess.run([*BENCH, model, f"--prepare={prepared}"], check=False).returncode:
        return code, None
    if chosen.metaschedule:
        command = [sys.executable, str(Path(__file__).with_name("metaschedule.py")), str(prepared)]
        command += [f"--seconds={chosen.metaschedule}", f"--threads={chosen.threads}", f"--output={database}"]
        log = database.with_suffix(".txt")
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("w", encoding="utf-8") as stream:
            subprocess.run(command, check=True, stdout=stream, stderr=subprocess.STDOUT)
    against = f"{chosen.against},metaschedule" if database.exists() else chosen.against
    command = [*BENCH, str(prepared), f"--against={against}", f"--database={database}"]
    command += [f"--threads={chosen.threads}", f"--rounds={chosen.rounds}", f"--target={chosen.target}"]
    command += [f"--log={path}" for path in chosen.log] + [f"--python={option}" for option in chosen.python]
    command += [f"--output={outcome}"]
    if chosen.processor is not None:
        command += [f"--processor={chosen.processor}"]
    if chosen.output is not None:
        command += [f"--output={chosen.output / name}{ending}" for ending in (".json", ".html")]
    code = subprocess.run(command, check=False).returncode
    return code, json.loads(outcome.read_text(encoding="utf-8")) if outcome.exists() else None


def table(outcomes: Sequence[tuple[str, dict[str, Any] | None]]) -> str:
    """Return a Markdown table of all models, with the geometric means of the ratios.

    Parameters
    ----------
    outcomes
        Models, and their results as `tophub bench --json` prints them; None if there are none.
    """
    lines = [
        "| model | ours, ms | no records, ms | ours / no records | best peer, ms | ours / best peer |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    from_records, from_peers, unrestricted = [], [], False
    for model, outcome in outcomes:
        rows = {row["framework"]: row for row in outcome["frameworks"]} if outcome is not None else {}
        timed = {name: row for name, row in rows.items() if row["median"] is not None and row["agrees"]}
        ours, bare = timed.get("tophub"), timed.get("no-records")
        best = min((timed[name] for name in PEERS if name in timed), key=lambda row: float(row["median"]), default=None)
        peer = "-"
        if best is not None:
            mark = "*" if UNRESTRICTED in best["note"] else ""
            unrestricted |= bool(mark)
            peer = f"{best['framework']}{mark} {_ms(best)}"
        cells = [model, _ms(ours), _ms(bare), _ratio(ours, bare, from_records), peer, _ratio(ours, best, from_peers)]
        lines.append(f"| {' | '.join(cells)} |")
    means = [f"**{geometric_mean(ratios):.2f}**" if ratios else "-" for ratios in (from_records, from_peers)]
    lines.append(f"| geometric mean | | | {means[0]} | | {means[1]} |")
    devices = {
        f"{outcome['device']} (`{outcome['target']}`), threads: {outcome['threads']}"
        for _, outcome in outcomes
        if outcome is not None
    }
    lines += ["", *sorted(devices)]
    if unrestricted:
        lines.append("\\* uses all of this machine's instructions, more than the target has")
    return "\n".join(lines) + "\n"


def _ms(row: dict[str, Any] | None) -> str:
    return "-" if row is None else f"{row['median'] * 1e3:.2f}"


def _ratio(ours: dict[str, Any] | None, theirs: dict[str, Any] | None, ratios: list[float]) -> str:
    """Return our time relative to theirs, from their rounds in turns, and append it to `ratios`."""
    if ours is None or theirs is None:
        return "-"
    ratios.append(1 / float(theirs["ratio"]))
    return f"{ratios[-1]:.2f}"


def main() -> None:
    """Run `tophub bench` for each model, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", default=[*DEFAULT], help=f"names or files; `all`: {', '.join(MODELS)}")
    parser.add_argument("--against", default=AGAINST, help="as for `tophub bench`")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--target", default="llvm")
    parser.add_argument("--processor", metavar="NAME", help="a lesser processor, such as x86-64-v3")
    parser.add_argument("--metaschedule", type=float, default=0, help="seconds of tuning for each model")
    parser.add_argument("--database", type=Path, default=Path(".cache/metaschedule"), help="folder of its databases")
    parser.add_argument("--log", type=Path, action="append", default=[])
    parser.add_argument("--python", action="append", default=[], metavar="FRAMEWORK=PATH")
    parser.add_argument("--output", type=Path, help="folder for MODEL.json and MODEL.html")
    chosen = parser.parse_args()
    models = [name for each in chosen.models for name in (MODELS if each == "all" else [each])]
    if chosen.output is not None:
        chosen.output.mkdir(parents=True, exist_ok=True)
    codes, outcomes = [], []
    for model in models:
        with tempfile.TemporaryDirectory(prefix="tophub-models-") as folder:
            code, outcome = bench(model, chosen, Path(folder))
        codes.append(code)
        outcomes.append((model, outcome))
    sys.stdout.write("\n" + table(outcomes))
    sys.exit(max(codes))


if __name__ == "__main__":
    main()
