"""The table of `benchmarks/models.py`: ratios of rounds in turns, the fastest framework that agrees, means."""

from __future__ import annotations

import runpy
from pathlib import Path
from typing import Any

table = runpy.run_path(str(Path(__file__).parents[2] / "benchmarks" / "models.py"))["table"]


def row(framework: str, median: float | None, ratio: float | None, *, agrees: bool = True, note: str = "") -> Any:
    return {"framework": framework, "median": median, "ratio": ratio, "agrees": agrees, "note": note}


def outcome(*rows: Any) -> dict[str, Any]:
    return {"target": "llvm -mcpu=x86-64-v3", "device": "A processor", "threads": 2, "frameworks": rows}


def test_a_row_for_each_model_and_the_geometric_means() -> None:
    first = outcome(
        row("tophub", 0.010, 1.0),
        row("no-records", 0.020, 2.0),
        row("openvino", 0.009, 0.9, agrees=False),
        row("onnxruntime", 0.012, 1.25, note="not restricted to x86-64-v3"),
        row("pytorch", 0.030, 3.0),
        row("tvm", 0.001, 0.1),
        row("ncnn", None, None),
    )
    second = outcome(row("tophub", 0.004, 1.0), row("no-records", 0.002, 0.5), row("pytorch", 0.001, 0.2))
    assert table([("small", first), ("tiny", second), ("broken", None)]).splitlines() == [
        "| model | ours, ms | no records, ms | ours / no records | best peer, ms | ours / best peer |",
        "| --- | --- | --- | --- | --- | --- |",
        "| small | 10.00 | 20.00 | 0.50 | onnxruntime* 12.00 | 0.80 |",
        "| tiny | 4.00 | 2.00 | 2.00 | pytorch 1.00 | 5.00 |",
        "| broken | - | - | - | - | - |",
        "| geometric mean | | | **1.00** | | **2.00** |",
        "",
        "A processor (`llvm -mcpu=x86-64-v3`), threads: 2",
        "\\* uses all of this machine's instructions, more than the target has",
    ]


def test_what_failed_has_no_ratio() -> None:
    failed = outcome(row("tophub", None, None, agrees=False), row("no-records", 0.002, None))
    assert table([("small", failed)]).splitlines()[2] == "| small | - | 2.00 | - | - | - |"
