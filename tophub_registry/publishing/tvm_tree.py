"""A TVM's source tree: updating one version in the table of its `autotvm/tophub.py`.

The file is parsed, never executed, and only the version's digits change: quotes, line endings and everything else
stay as they are.
"""

from __future__ import annotations

import ast
from pathlib import Path
from typing import TYPE_CHECKING

from tophub_registry.errors import InputError, UsageError
from tophub_registry.packages.version import Version
from tophub_registry.publishing.edit import Edit, read

if TYPE_CHECKING:
    from collections.abc import Iterator

TABLE = "PACKAGE_VERSION"

_FILES = ("python/tvm/autotvm/tophub.py", "tvm/autotvm/tophub.py", "autotvm/tophub.py")


def find_tophub(tree: str | Path) -> Path:
    """Return the `tophub.py` of a TVM: a checkout, or a folder in which TVM is installed.

    Raises
    ------
    UsageError
        There is none.
    """
    for file in _FILES:
        path = Path(tree) / file
        if path.is_file():
            return path
    raise UsageError(f"not a TVM with AutoTVM: it has no {_FILES[0]}", file=tree, remedy="check --tvm-tree")


def raise_version(path: Path, package: str, version: Version) -> Edit | None:
    """Return the edit that makes a TVM use a package's version; None if it does already.

    Raises
    ------
    InputError
        The file is missing, is not Python, or does not have exactly one entry of the package in `PACKAGE_VERSION`.
    UsageError
        It uses a later version.
    """
    data = read(path)
    entries = list(_entries(data, package, path))
    if len(entries) != 1:
        raise InputError(
            f"{len(entries) or 'no'} entries of {package!r} in {TABLE}", file=path, remedy="edit the file by hand"
        )
    start, end, line = entries[0]
    literal = data[start:end]
    try:
        known = Version.parse(_constant(literal))
    except (UsageError, ValueError) as error:
        raise InputError(f"not a version: {literal[:80]!r}", file=path, line=line) from error
    if known == version:
        return None
    if known > version:
        raise UsageError(f"this TVM uses {package} {known}, later than {version}", file=path, line=line)
    after = data[:start] + literal.replace(str(known).encode(), str(version).encode()) + data[end:]
    return Edit(path, data, after)


def _entries(data: bytes, package: str, path: Path) -> Iterator[tuple[int, int, int]]:
    """Yield the place of each of the package's versions in the table: first byte, end, and line."""
    try:
        tree = ast.parse(data)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise InputError(f"not a Python file: {error}"[:200], file=path) from error
    offsets = [0]
    for text in data.splitlines(keepends=True):
        offsets.append(offsets[-1] + len(text))
    for table in _tables(tree):
        for key, value in zip(table.keys, table.values, strict=True):
            if isinstance(key, ast.Constant) and key.value == package:
                start = offsets[value.lineno - 1] + value.col_offset
                end = offsets[(value.end_lineno or 0) - 1] + (value.end_col_offset or 0)
                yield start, end, value.lineno


def _tables(tree: ast.Module) -> Iterator[ast.Dict]:
    for node in ast.walk(tree):
        if isinstance(node, (ast.Assign, ast.AnnAssign)) and isinstance(node.value, ast.Dict):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            if any(isinstance(target, ast.Name) and target.id == TABLE for target in targets):
                yield node.value


def _constant(literal: bytes) -> str:
    """Return the text of a plain string literal; ValueError for another expression."""
    text = literal.decode()
    if len(text) < len("''") or text[0] not in "\"'" or text[-1] != text[0]:
        raise ValueError(text)
    return text[1:-1]
