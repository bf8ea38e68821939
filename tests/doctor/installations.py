"""Installations to examine: folders with distributions' metadata, first on the path or alone on it."""

from __future__ import annotations

import sys
from pathlib import Path


def install(folder: Path, **versions: str) -> Path:
    """Make metadata of distributions; `_` stands for `-`, and those that are a TVM have its module."""
    for name, version in versions.items():
        place = folder / f"{name}-{version}.dist-info"
        place.mkdir(parents=True)
        (place / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name.replace('_', '-')}\nVersion: {version}\n")
        tvm = "tvm" in name and "ffi" not in name
        (place / "RECORD").write_text("tvm/__init__.py,,\n" if tvm else f"{name}/__init__.py,,\n")
    return folder


def alone(monkeypatch, folder: Path, **versions: str) -> None:
    """Let only these distributions be installed."""
    monkeypatch.setattr(sys, "path", [str(install(folder, **versions))])


def module(folder: Path, text: str) -> Path:
    """Make a module named tvm that does what the text says."""
    (folder / "tvm").mkdir(parents=True)
    (folder / "tvm" / "__init__.py").write_text(text)
    return folder
