"""The README's table of whole models, from what `tophub bench -o` wrote.

`python tools/models_table.py benchmarks/models/*.json` prints it; `--readme README.md` puts it between that file's two
markers instead.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

BEGIN, END = "<!-- made by tools/models_table.py -->\n", "<!-- end -->\n"
KINDS = ("llvm", "cuda")
NAMES = {
    "tophub": "**apache-tvm with our records**",
    "no-records": "apache-tvm with our templates, no records",
    "gluoncv": "gluoncv/MXNet, hybridized",
    "onnxruntime": "ONNX Runtime",
    "openvino": "OpenVINO",
    "ncnn": "ncnn",
    "pytorch": "PyTorch",
    "tvm": "apache-tvm, untuned",
    "metaschedule": "apache-tvm, MetaSchedule",
}


def table(outcomes: list[dict[str, Any]]) -> str:
    """Return a Markdown table: a row for each framework and model, a column for each kind of device.

    Parameters
    ----------
    outcomes
        As `tophub bench --json` prints them: one of a model on a device.
    """
    found = {(outcome["model"], outcome["target"].split()[0]): outcome for outcome in outcomes}
    devices = {target: outcome for (_, target), outcome in found.items()}
    kinds = [kind for kind in KINDS if kind in devices]
    lines = [f"| model | framework | {' | '.join(_heading(devices[kind]) for kind in kinds)} |"]
    lines.append("| --- " * (2 + len(kinds)) + "|")
    for model in dict.fromkeys(model for model, _ in found):
        rows = {kind: _rows(found.get((model, kind))) for kind in kinds}
        for name, spelled in NAMES.items():
            cells = [_cell(rows[kind].get(name)) for kind in kinds]
            if any(cells):
                lines.append(f"| {model} | {spelled} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _heading(outcome: dict[str, Any]) -> str:
    threads = f", {outcome['threads']} threads" if outcome["target"].startswith("llvm") else ""
    return f"{outcome['device']} (`{outcome['target']}`){threads}"


def _rows(outcome: dict[str, Any] | None) -> dict[str, dict[str, Any]]:
    return {} if outcome is None else {row["framework"]: row for row in outcome["frameworks"]}


def _cell(row: dict[str, Any] | None) -> str:
    if row is None or row["median"] is None:
        return ""
    median = row["median"] * 1e3
    digits = next(digits for digits, least in ((0, 100), (1, 1), (2, 0)) if median >= least)
    return f"{median:.{digits}f} ms ± {row['spread'] * 50:.0f} %, **{row['ratio']:.2f}**"


def main() -> None:
    """Print the table, or put it into the README."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("outcomes", nargs="+", type=Path)
    parser.add_argument("--readme", type=Path)
    chosen = parser.parse_args()
    made = table([json.loads(path.read_text(encoding="utf-8")) for path in chosen.outcomes])
    if chosen.readme is None:
        print(made, end="")
        return
    before, _, rest = chosen.readme.read_text(encoding="utf-8").partition(BEGIN)
    _, _, after = rest.partition(END)
    chosen.readme.write_text(f"{before}{BEGIN}{made}{END}{after}", encoding="utf-8")


if __name__ == "__main__":
    main()
