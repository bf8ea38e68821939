"""The changelog's lines on data packages, at the end of the newest entry."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from tophub_registry.errors import InputError
from tophub_registry.publishing.edit import Edit, read

if TYPE_CHECKING:
    from pathlib import Path

    from tophub_registry.packages.index import Index
    from tophub_registry.packages.version import Version
    from tophub_registry.records.merge import MergeReport

HEADING = "Data packages:"

_TARGETS = 3


def note_version(
    path: Path, index: Index, package: str, version: Version, merged: MergeReport | None = None
) -> Edit | None:
    """Return the edit that adds a version's line; None if some entry has it.

    Parameters
    ----------
    path
        The changelog, in Markdown; its entries begin with `## `, the newest one first.
    index
        The index that has the version.
    package, version
        Which one.
    merged
        How it was merged with the version it is based on, if that is known.

    Raises
    ------
    InputError
        The file is missing, is not UTF-8, or has no entry.
    """
    data = read(path)
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        raise InputError("the changelog is not UTF-8", file=path) from error
    if re.search(rf"^- {re.escape(f'{package} {version}')}:", text, re.MULTILINE):
        return None
    entries = [match.start() for match in re.finditer(r"^## ", text, re.MULTILINE)]
    if not entries:
        raise InputError("the changelog has no entry", file=path, remedy="start one with `## VERSION (unreleased)`")
    newest = text[entries[0] : entries[1] if len(entries) > 1 else None].rstrip()
    newline = "\r\n" if "\r\n" in text else "\n"
    note = [line_of(index, package, version, merged)]
    if HEADING not in newest.splitlines():
        note = ["", HEADING, "", *note]
    end = entries[0] + len(newest)
    after = text[:end] + newline + newline.join(note) + (text[end:] or newline)
    return Edit(path, data, after.encode())


def line_of(index: Index, package: str, version: Version, merged: MergeReport | None = None) -> str:
    """Return the changelog's line on a version."""
    versions = index.packages[package]
    published = versions[str(version)]
    records = f"{published.records} record{'s' if published.records > 1 else ''}"
    targets = sorted(published.targets, key=lambda target: (-published.targets[target], target))
    named = ", ".join(f"`{target}`" for target in targets[:_TARGETS])
    more = f" and {len(targets) - _TARGETS} more targets" if len(targets) > _TARGETS else ""
    before = ""
    if published.base is not None:
        before = f"; {published.base} had {versions[published.base].records}"
        if merged is not None:
            before = f"; {merged.added} added to {published.base}'s, {merged.improved} improved"
    return f"- {package} {version}: {records} for {named}{more}{before}."
