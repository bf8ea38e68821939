"""Writing a registry's folder: its index, and the files that the index lists.

Guarantees: only one process at a time changes a registry, also where locks don't work; a file exists before the index
lists it, so that a crash leaves the old registry, perhaps with a file that the same command uses when it is run again;
a published file is never rewritten.
"""

from __future__ import annotations

import errno
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from filelock import Timeout

from tophub_registry.errors import EnvironmentFailure, InputError, UsageError
from tophub_registry.files import atomic_write, make_folder
from tophub_registry.packages.digest import Digest, Meter
from tophub_registry.packages.exclusive import exclusively, file_lock
from tophub_registry.packages.folder import read_index
from tophub_registry.packages.index import INDEX_FILE, Index
from tophub_registry.packages.version import FileName
from tophub_registry.publishing.metadata import is_signed, latest_index
from tophub_registry.records.log import open_log

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from tophub_registry.packages.version import Version

PATIENCE = 60.0
"""Seconds to wait for another process that changes the same registry."""


_NO_LOCKS = frozenset({errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP})
"""The errors of file systems without locks."""


def write_index(folder: Path, index: Index, *, before: Index | None) -> None:
    """Replace a registry's index as a whole; in a signed registry, stage it until it is signed.

    Parameters
    ----------
    folder
        The registry's folder.
    index
        The new index.
    before
        The index that it was made from; None if there was none.

    Raises
    ------
    EnvironmentFailure
        Another process has changed the index meanwhile, or it can't be written.
    """
    if is_signed(folder):
        from tophub_registry.publishing.staging import stage_index

        with while_unchanged(folder, lambda: latest_index(folder) == before):
            stage_index(folder, index)
        return

    @contextmanager
    def while_as_before() -> Iterator[bool]:
        with exclusively(folder / INDEX_FILE) as alone:
            yield alone and read_index(folder) == before

    try:
        with atomic_write(folder / INDEX_FILE, overwrite=True, guard=while_as_before) as stream:
            stream.write(index.to_bytes())
    except UsageError as error:
        raise _meanwhile(folder / INDEX_FILE) from error


@contextmanager
def while_unchanged(folder: Path, is_as_before: Callable[[], bool]) -> Iterator[None]:
    """Let metadata be staged as long as what it was made from is as it was read; no lock is relied on.

    Raises
    ------
    EnvironmentFailure
        Another process has changed it meanwhile.
    """
    with exclusively(folder / INDEX_FILE) as alone:
        if not (alone and is_as_before()):
            raise _meanwhile(folder / INDEX_FILE)
        yield


def _meanwhile(path: Path) -> EnvironmentFailure:
    return EnvironmentFailure(
        "another process has changed this registry meanwhile",
        file=path,
        remedy="nothing is lost; run the command again",
    )


@contextmanager
def changing(folder: Path) -> Iterator[None]:
    """Lock a registry against other changes; its folder is made if it is missing.

    Raises
    ------
    UsageError
        The folder is a catalogue, or see `files.make_folder`.
    EnvironmentFailure
        Another process keeps the lock, or the folder can't be written to.
    """
    if (folder / "catalogue.json").exists():
        raise UsageError("this is a catalogue, which `tophub site` wrote", file=folder, remedy="name its registry")
    make_folder(folder)
    try:
        lock = file_lock(folder / ".lock", timeout=PATIENCE)
        with suppress(NotImplementedError):  # a file system without locks: `write_index` does not rely on them
            lock.acquire()
    except Timeout as error:
        raise EnvironmentFailure(
            "another process is changing this registry and does not finish", file=folder
        ) from error
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise EnvironmentFailure(f"can't be written to: {error.strerror or error}", file=folder) from error
    try:
        yield
    finally:
        lock.release()


def unknown_files(folder: Path, package: str, known: Mapping[Version, object]) -> dict[Version, Digest]:
    """Return the files that are named like versions of a package but are not among the known ones.

    An interrupted release or import leaves such files, and somebody may have put one there.
    """
    try:
        names = [FileName.parse(path.name) for path in folder.iterdir()]
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise EnvironmentFailure(f"can't be read: {error.strerror or error}", file=folder) from error
    versions = sorted(name.version for name in names if name and name.package == package and name.version not in known)
    digests = {version: Digest.of(folder / str(FileName(package, version))) for version in versions}
    return {version: digest for version, digest in digests.items() if digest is not None}


def put(source: Path, path: Path, digest: Digest) -> None:
    """Write a log's bytes, unzipped, or a cost model's into a registry, unless they are there already.

    Raises
    ------
    InputError
        The source has changed since its digest was computed.
    EnvironmentFailure
        Another process has put a file of that name there meanwhile, or the registry can't be written to.
    """
    if Digest.of(path) == digest:
        return
    meter = Meter()
    try:
        with open_log(source) as given, atomic_write(path) as stream:
            for chunk in meter.passing(given):
                stream.write(chunk)
            if meter.digest != digest:
                raise InputError(
                    "the file changed while it was read", file=source, remedy="try again when nothing writes to it"
                )
    except UsageError as error:
        if Digest.of(path) != digest:
            raise _meanwhile(path) from error
