"""What the tests of several subpackages share: which of them are run, and where the upstream logs are."""

from __future__ import annotations

import os
import random
import subprocess
from collections import Counter
from collections.abc import Sequence
from datetime import date
from pathlib import Path
from typing import TypeVar
from zlib import crc32

import pytest

Case = TypeVar("Case")

_SHARE = 5
"""Of how many random examples one is tried, unless every case is wanted."""

_DAYS = 12
"""On how many days one after the other every slow test is run once, unless all are wanted."""


def _day() -> str:
    """Return the day of the last commit; empty without git."""
    command = ["git", "log", "-1", "--format=%cs"]
    try:
        return subprocess.run(command, cwd=Path(__file__).parent, capture_output=True, text=True, check=False).stdout
    except OSError:
        return ""


_DAY = _day()


class _Wanted:
    """Whether every case is wanted, for what tests decide when they are imported."""

    exhaustive = False


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--exhaustive", action="store_true", help="Run every case, not a sample (`make test-all`).")


def pytest_configure(config: pytest.Config) -> None:
    _Wanted.exhaustive = bool(config.getoption("--exhaustive"))


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if not config.getoption("--exhaustive"):
        asked_for = any("::" in argument for argument in config.invocation_params.args)
        left_out = {item for item in items if item.get_closest_marker("exhaustive") or not (asked_for or _is_due(item))}
        config.hook.pytest_deselected(items=list(left_out))
        items[:] = [item for item in items if item not in left_out]
    if hasattr(config, "workerinput"):  # pytest-xdist hands out files in this order: the long ones first
        slow = Counter(item.path for item in items if item.get_closest_marker("slow"))
        size = Counter(item.path for item in items)
        items.sort(key=lambda item: (-slow[item.path], -size[item.path]))


def _is_due(item: pytest.Item) -> bool:
    """Return whether a test is quick, or its turn is on the day of the last commit.

    Those that read upstream's logs are always due: without the logs, CI is to fail.
    """
    if item.get_closest_marker("slow") is None or not _DAY or "upstream" in getattr(item, "fixturenames", ()):
        return True
    day = date.fromisoformat(_DAY.strip()).toordinal()
    return (crc32(item.nodeid.encode()) + day) % _DAYS == 0


@pytest.fixture(scope="session")
def exhaustive(request: pytest.FixtureRequest) -> bool:
    """Return whether every case is wanted, and not a sample."""
    return bool(request.config.getoption("--exhaustive"))


def examples(count: int) -> int:
    """Return how many random examples to try where `make test-all` tries `count`."""
    return count if _Wanted.exhaustive else count // _SHARE


def some(cases: Sequence[Case], count: int) -> list[Case]:
    """Return so many of the cases, other ones every day that has commits; all of them if every case is wanted."""
    drawn = random.Random(_DAY).sample(range(len(cases)), min(count, len(cases)))
    return [case for number, case in enumerate(cases) if _Wanted.exhaustive or number in drawn]


def sample(cases: Sequence[Case], kinds: Sequence[str], of_each: int) -> list[Case]:
    """Return so many cases of each kind, other ones every day that has commits.

    Parameters
    ----------
    kinds
        The kind of each case.
    """
    draw = random.Random(_DAY)
    by_kind: dict[str, list[Case]] = {}
    for case, kind in zip(cases, kinds, strict=True):
        by_kind.setdefault(kind, []).append(case)
    return [case for each in by_kind.values() for case in draw.sample(each, min(of_each, len(each)))]


@pytest.fixture(scope="session")
def upstream() -> Path:
    """Return the folder with logs of upstream's TopHub; they are never copied into the project."""
    beside = Path(__file__).parents[2] / "shared" / "data" / "tophub_upstream"
    folder = Path(os.environ.get("TOPHUB_UPSTREAM_DATA", beside))
    if not folder.is_dir():
        reason = f"upstream's logs are not at {folder}; $TOPHUB_UPSTREAM_DATA names their folder"
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)
    return folder


@pytest.fixture(scope="session")
def cases(upstream: Path) -> Path:
    """Return the folder with small logs that went wrong, beside upstream's."""
    return upstream.parent / "cases"


@pytest.fixture(scope="session")
def registry() -> Path:
    """Return the folder of this repository's own packages."""
    return Path(__file__).parents[1] / "registry_data"
