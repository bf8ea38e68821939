"""`tools/models_table.py`, and the table in the README, which it made."""

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
TOOL = ROOT / "tools" / "models_table.py"


def run(*arguments):
    return subprocess.run([sys.executable, TOOL, *arguments], capture_output=True, text=True, check=True).stdout


def row(framework, median, ratio):
    return {"framework": framework, "median": median, "spread": 0.04, "ratio": ratio}


def outcome(target, device, *rows):
    return {"model": "resnet18_v1", "target": target, "device": device, "threads": 2, "frameworks": rows}


def test_a_row_for_each_framework_and_a_column_for_each_device(tmp_path):
    cpu = outcome("llvm -mcpu=znver4", "A processor", row("tophub", 0.0125, 1.0), row("pytorch", 0.25, 20.0))
    gpu = outcome("cuda -model=h100", "A GPU", row("tophub", 0.0005, 1.0), row("gluoncv", None, None))
    for name, content in (("a.json", gpu), ("b.json", cpu)):
        (tmp_path / name).write_text(json.dumps(content))
    assert run(tmp_path / "a.json", tmp_path / "b.json").splitlines() == [
        "| model | framework | A processor (`llvm -mcpu=znver4`), 2 threads | A GPU (`cuda -model=h100`) |",
        "| --- | --- | --- | --- |",
        "| resnet18_v1 | **apache-tvm with our records** | 12.5 ms ± 2 %, **1.00** | 0.50 ms ± 2 %, **1.00** |",
        "| resnet18_v1 | PyTorch | 250 ms ± 2 %, **20.00** |  |",
    ]


def test_the_readmes_table_is_what_the_tool_makes_of_the_measurements():
    made = run(*sorted((ROOT / "benchmarks" / "models").glob("*.json")))
    assert made in (ROOT / "README.md").read_text(encoding="utf-8")
