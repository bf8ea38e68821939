"""Memory that is in use is moved into huge pages, and nothing else changes."""

from __future__ import annotations

import json
import platform
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tophub_registry.devices import pages

_MB = 1 << 20
_HUGE = 2 * _MB
_ALLOWED = Path("/sys/kernel/mm/transparent_hugepage/enabled")

_MOVE = """
import ctypes, json, mmap
from tophub_registry.devices.pages import use_huge_pages

MB, PAGE = 1 << 20, mmap.PAGESIZE
full, sparse = (mmap.mmap(-1, 64 * MB, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS) for _ in range(2))
for page in range(0, len(full), PAGE):
    full[page] = page // PAGE % 251
for page in range(0, len(sparse), 2 * MB):
    sparse[page] = 1

def resident(array):
    pages = (ctypes.c_ubyte * (len(array) // PAGE))()
    address = ctypes.addressof(ctypes.c_char.from_buffer(array))
    assert not ctypes.CDLL(None).mincore(ctypes.c_void_p(address), ctypes.c_size_t(len(array)), pages)
    return sum(pages) * PAGE

def huge():
    totals = open("/proc/self/smaps_rollup").read()
    return int(totals.split("AnonHugePages:")[1].split()[0]) * 1024

before = huge(), resident(sparse)
asked = use_huge_pages()
kept = all(full[page] == page // PAGE % 251 for page in range(0, len(full), PAGE))
print(json.dumps([asked // MB, (huge() - before[0]) // MB, resident(sparse) - before[1], kept]))
"""


def test_memory_in_use_is_moved_with_its_contents_and_unused_memory_is_not_allocated():
    numbers = re.match(r"(\d+)\.(\d+)", platform.release())
    version = tuple(map(int, numbers.groups())) if numbers else (0, 0)
    if version < (6, 1) or not _ALLOWED.exists() or "[never]" in _ALLOWED.read_text(encoding="ascii"):
        pytest.skip("this system does not move memory into huge pages on request")
    done = subprocess.run([sys.executable, "-c", _MOVE], capture_output=True, text=True, check=True, timeout=60)
    asked, moved, grown, kept = json.loads(done.stdout)
    assert asked >= 62  # the mapping need not begin with a whole one
    assert moved > 0  # the system may not have as many free
    assert grown == 0
    assert kept


@pytest.mark.parametrize("text", ["", "always madvise [never]\n"])
def test_nothing_is_asked_of_a_system_without_huge_pages(text: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    allowed = tmp_path / "enabled"
    if text:
        allowed.write_text(text, encoding="ascii")
    monkeypatch.setattr(pages, "_ALLOWED", allowed)
    assert pages.use_huge_pages() == 0


def test_nothing_happens_where_mappings_are_unknown(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setattr(pages, "_MAPPINGS", tmp_path / "none")
    assert pages.use_huge_pages() == 0


@pytest.mark.parametrize(("address", "size"), [(1, _HUGE), (4096, 4096), (_HUGE, _HUGE - 1)])
def test_memory_without_a_whole_huge_page_is_left_alone(address: int, size: int):
    assert pages.back_with_huge_pages(address, size) == 0
