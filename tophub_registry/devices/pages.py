"""Huge pages: a processor that reads a model's weights from memory then has 512 times fewer addresses to translate.

A run reads every weight once. In pages of 4 KB that takes a translation for each 1,024 floats, most of which are in no
buffer of the processor, and in a virtual machine each takes two walks through tables. Prefetches wait for them, too.
"""

from __future__ import annotations

import ctypes
import mmap
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path

_HUGE = 2 << 20
"""The size of a huge page, in bytes: 2 MB on x86."""

_FULL = 0.75
"""A huge page replaces pages of 4 KB if at least this part of them is in use; the rest of it is then allocated."""

_HUGEPAGE, _COLLAPSE = 14, 25
"""Advice of Linux' `madvise`: use huge pages here from now on, and, since Linux 6.1, move what is here now."""

_MAPPINGS = Path("/proc/self/maps")
_ALLOWED = Path("/sys/kernel/mm/transparent_hugepage/enabled")


def use_huge_pages() -> int:
    """Ask Linux to move the memory of this process into huge pages, and return the number of bytes it was asked for.

    Call it when a model has run once, so that its weights and the arrays between its layers are allocated. Only memory
    that is in use is moved, so the process hardly grows. Nothing happens on other systems, or where huge pages are
    switched off (`/sys/kernel/mm/transparent_hugepage/enabled` says `never`); before Linux 6.1 the system moves the
    memory by and by.
    """
    asked = 0
    for start, end in _mappings():
        for used, run in groupby(_whole(start, end), _in_use):
            if used:
                pages = list(run)
                asked += back_with_huge_pages(pages[0], len(pages) * _HUGE)
    return asked


def back_with_huge_pages(address: int, size: int) -> int:
    """Ask for huge pages for the whole ones in `size` bytes from `address` on, and return their number of bytes."""
    pages = _whole(address, address + size)
    if not pages or not _allowed():
        return 0
    libc, place, length = ctypes.CDLL(None), ctypes.c_void_p(pages[0]), ctypes.c_size_t(len(pages) * _HUGE)
    libc.madvise(place, length, _HUGEPAGE)
    libc.madvise(place, length, _COLLAPSE)
    return len(pages) * _HUGE


def _whole(start: int, end: int) -> range:
    """Return the addresses of the whole huge pages from `start` to `end`."""
    return range(-(-start // _HUGE) * _HUGE, end - _HUGE + 1, _HUGE)


def _in_use(page: int) -> bool:
    resident = (ctypes.c_ubyte * (_HUGE // mmap.PAGESIZE))()
    failed = ctypes.CDLL(None).mincore(ctypes.c_void_p(page), ctypes.c_size_t(_HUGE), resident)
    return not failed and sum(resident) >= _FULL * len(resident)


def _mappings() -> Iterator[tuple[int, int]]:
    """Yield start and end of each private, writable mapping that no file backs: the heap, and large arrays."""
    try:
        lines = _MAPPINGS.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:  # not Linux, or no access
        return
    for line in lines:
        where, access, _, _, _, *name = line.split()  # 7f0c40000000-7f0c44000000 rw-p 00000000 00:00 0  [name]
        if access == "rw-p" and name in ([], ["[heap]"]):
            start, end = where.split("-")
            yield int(start, 16), int(end, 16)


def _allowed() -> bool:
    try:
        return "[never]" not in _ALLOWED.read_text(encoding="ascii")
    except OSError:  # not Linux
        return False
