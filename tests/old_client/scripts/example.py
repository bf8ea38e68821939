"""Runs an example of the documentation, given a network: `example.py FILE`, in whose folder `my.log` is."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

from tvm import relay


def network() -> Any:
    """Return a module with one convolution."""
    data, weight = relay.var("data", shape=(1, 64, 56, 56)), relay.var("weight", shape=(64, 64, 3, 3))
    return relay.Function([data, weight], relay.nn.conv2d(data, weight, padding=(1, 1), channels=64, kernel_size=3))


file = Path(sys.argv[1])
os.chdir(file.parent)
names: dict[str, Any] = {"module": network(), "target": "llvm", "params": {}, "relay": relay}
exec(compile(file.read_text(), str(file), "exec"), names)  # noqa: S102  # the documentation's example
packages = sorted(path.name for path in (Path.home() / ".tvm" / "tophub").glob("*.log"))
sys.stdout.write(json.dumps({"built": type(names["library"]).__name__, "packages": packages}) + "\n")
