"""Rows to test with: a layer of a residual network, as this project's tuner writes it."""

from __future__ import annotations

import json
from typing import Any

from tophub_registry.records.record import Record

MEASURED = 1767225600.0
"""The first second of 2026."""


def row(**changes: Any) -> dict[str, Any]:
    """Return a row of log version 0.2 as a JSON value, in AutoTVM's order of keys.

    Parameters
    ----------
    changes
        `target`, `task`, `channels` (of the input), `costs`, `error_no`, `timestamp`, `index`, `tile_ow`,
        `tophub`: what differs from the row that is made without arguments.
    """
    channels = changes.get("channels", 64)
    result = {
        "input": [
            changes.get("target", "llvm -mcpu=znver4"),
            changes.get("task", "conv2d_NCHWc.x86"),
            [
                ["TENSOR", [1, channels, 56, 56], "float32"],
                ["TENSOR", [64, channels, 3, 3], "float32"],
                [1, 1],
                [1, 1, 1, 1],
                [1, 1],
                "NCHW",
                "NCHW",
                "float32",
            ],
            {},
        ],
        "config": {
            "index": changes.get("index", 193),
            "code_hash": None,
            "entity": [
                ["tile_ic", "sp", [-1, 16]],
                ["tile_oc", "sp", [-1, 32]],
                ["tile_ow", "sp", [-1, changes.get("tile_ow", 8)]],
                ["unroll_kw", "ot", True],
            ],
        },
        "result": [
            changes.get("costs", [0.000123, 0.000125]),
            changes.get("error_no", 0),
            1.5,
            changes.get("timestamp", MEASURED),
        ],
        "version": 0.2,
        "tvm_version": "0.27.0",
    }
    if "tophub" in changes:
        result["tophub"] = changes["tophub"]
    return result


def text(**changes: Any) -> str:
    """Return the same row as a line of a log, without its line break."""
    return json.dumps(row(**changes))


def record(**changes: Any) -> Record:
    """Return the same row as a record."""
    return Record.model_validate_json(text(**changes))
