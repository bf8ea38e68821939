"""What the tests of several rooms share: where the upstream logs are."""

from __future__ import annotations

import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def upstream() -> Path:
    """Return the folder with logs of upstream's TopHub; they are never copied into the project."""
    beside = Path(__file__).parents[2] / "shared" / "data" / "tophub_upstream"
    folder = Path(os.environ.get("TOPHUB_UPSTREAM_DATA", beside))
    if not folder.is_dir():
        pytest.skip(f"upstream's logs are not at {folder}; $TOPHUB_UPSTREAM_DATA names their folder")
    return folder


@pytest.fixture(scope="session")
def registry() -> Path:
    """Return the folder of this repository's own packages."""
    return Path(__file__).parents[1] / "registry_data"
