"""TopHub as AutoTVM knows it, answered from a registry: a drop-in for `tvm.autotvm.tophub` of TVM 0.7 to 0.19.

Names and signatures are those of that module. The differences: versions come from the registry's index; a package
is checked when it is fetched; and records are chosen for the given target (`records.lookup`): the user's own come
first but do not hide TopHub's, and records of the same device come before others.

`enable()` puts these names into the installed TVM, `disable()` restores its own. Only `context` and
`load_reference_log` need that TVM; without it they raise `EnvironmentFailure`.
"""

from __future__ import annotations

import logging
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, MutableMapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tophub_registry.packages.index import Index, Notice
    from tophub_registry.packages.location import Location
    from tophub_registry.records.lookup import Answer
    from tophub_registry.records.record import Record
    from tophub_registry.records.target import Target

    AUTOTVM_TOPHUB_DEFAULT_LOC: str
    AUTOTVM_TOPHUB_ROOT_PATH: Path

AUTOTVM_TOPHUB_LOC_VAR = "TOPHUB_LOCATION"
"""The environment variable that names the location."""

AUTOTVM_TOPHUB_NONE_LOC = "NONE"
"""Its value that switches fetching off."""

REFERENCE_LOG_CACHE: dict[tuple[str, str, str], list[tuple[Any, Any]]] = {}
"""The results of `load_reference_log`, by its arguments."""

logger = logging.getLogger("autotvm")


class PackageVersions(MutableMapping[str, str]):
    """Each package's version: the newest in the index of the location in effect that is not yanked.

    It is looked up on access; a location on the web is read once per process. Assigning a version pins it, and
    `del` removes the pin. If fetching is switched off, the builtin registry is used. If `$TOPHUB_LOCK` names a lock,
    these are the locked versions.
    """

    def __init__(self) -> None:
        self.pins: dict[str, str] = {}

    def _view(self) -> dict[str, str]:
        from tophub_registry.packages.location import builtin, find_location
        from tophub_registry.packages.lock import lock_in_effect

        if (lock := lock_in_effect()) is not None:
            return {package: locked.version for package, locked in sorted(lock.packages.items())}
        index = _ask(find_location() or builtin())
        newest = {package: index.newest(package) for package in sorted(index.packages)}
        return {package: str(version) for package, version in newest.items() if version is not None} | self.pins

    def __getitem__(self, package: str) -> str:
        return self._view()[package]

    def __setitem__(self, package: str, version: str) -> None:
        from tophub_registry.packages.version import Version, check_package

        self.pins[check_package(package)] = str(Version.parse(version))

    def __delitem__(self, package: str) -> None:
        del self.pins[package]

    def __iter__(self) -> Iterator[str]:
        return iter(self._view())

    def __len__(self) -> int:
        return len(self._view())

    def __repr__(self) -> str:
        return repr(self._view())


PACKAGE_VERSION = PackageVersions()
"""The version of each package."""


def context(target: Any, extra_files: Sequence[str | Path] | None = None) -> Any:
    """Return AutoTVM's dispatch context with the best records for a target.

    Parameters
    ----------
    target
        A `tvm.target.Target`, its string, or several of them.
    extra_files
        The user's own logs, of either log version. For each workload they come before TopHub's package, except
        that records of the same device come before others. Another processor's record is used only if it is
        expected to gain on this one.

    Returns
    -------
    context
        An `ApplyHistoryBest`. If fetching is switched off, only of the user's own logs, or AutoTVM's empty
        context if there are none.

    Raises
    ------
    InputError
        One of the user's logs can't be read.
    EnvironmentFailure
        There is no TVM with AutoTVM.
    """
    from tophub_registry.packages.location import find_location
    from tophub_registry.records.lookup import lookup_all

    autotvm = _autotvm()
    own = [Path(path) for path in extra_files or ()]
    location = find_location()
    if location is None and not own:
        return autotvm.tophub.EmptyContext()
    rows = []
    for one in _targets(target):
        found = [answer for answer in lookup_all(one, _sources(one, location, own)).values() if _helps(answer, one)]
        counts = Counter(f"{answer.match}" for answer in found)
        logger.info("TopHub's records for %s by how they match: %s", one, dict(counts))
        rows += list(_decoded(_for_target(answer.record, one) for answer in found if answer.record is not None))
    return autotvm.task.ApplyHistoryBest(rows)


def check_backend(tophub_location: str, backend: str) -> bool:
    """Fetch a backend's package if it is not on this machine; return whether it is now.

    Raises
    ------
    UsageError
        The registry has no such package, or not the pinned version.
    """
    from tophub_registry.errors import EnvironmentFailure

    try:
        return _package_file(backend, tophub_location) is not None
    except EnvironmentFailure as error:
        logger.warning("TopHub's package for %s is not available: %s", backend, error)
        return False


def download_package(tophub_location: str, package_name: str) -> None:
    """Fetch a package by its file name, `llvm_v0.05.log`.

    Raises
    ------
    UsageError
        The name is invalid, the registry has no such version, or fetching is switched off.
    EnvironmentFailure
        The location does not respond, or sends other bytes than were published.
    """
    from tophub_registry.errors import UsageError
    from tophub_registry.packages.fetch import fetch
    from tophub_registry.packages.location import find_location
    from tophub_registry.packages.root import Root
    from tophub_registry.packages.version import FileName, Reference

    name = FileName.parse(package_name)
    if name is None:
        raise UsageError(f"not a package file: {package_name[:80]!r}", remedy="write it like llvm_v0.05.log")
    location = find_location(tophub_location)
    if location is None:
        raise UsageError("fetching is switched off: the location is NONE")
    _tell(fetch([Reference(*name)], location, Root.at(), index=_ask(location)).notices)


def load_reference_log(backend: str, model: str, workload_name: str) -> list[tuple[Any, Any]]:
    """Return a task's records for a device model, which AutoTVM's templates use for their default configs.

    Parameters
    ----------
    backend
        The package's name.
    model
        The device model; if the package does not have it, the one with most records is used.
    workload_name
        The task's name.

    Returns
    -------
    records
        Pairs of AutoTVM's `MeasureInput` and `MeasureResult`; empty if there is no such package.
    """
    key = (backend, model, workload_name)
    if key not in REFERENCE_LOG_CACHE:
        _autotvm()
        REFERENCE_LOG_CACHE[key] = list(_decoded(_reference_records(*key)))
    return REFERENCE_LOG_CACHE[key]


def enable() -> None:
    """Let the installed TVM use our versions and our fetching; a second call changes nothing.

    Raises
    ------
    EnvironmentFailure
        It has no AutoTVM.
    """
    theirs = _autotvm().tophub
    if not _before:
        _before.update({name: getattr(theirs, name) for name in _REPLACED if hasattr(theirs, name)})
        for name in _before:
            setattr(theirs, name, globals()[name] if name in globals() else __getattr__(name))


def disable() -> None:
    """Restore what `enable` has replaced in that TVM, if anything."""
    if _before:
        theirs = _autotvm().tophub
        for name, value in _before.items():
            setattr(theirs, name, value)
        _before.clear()


_REPLACED = (
    "PACKAGE_VERSION",
    "AUTOTVM_TOPHUB_DEFAULT_LOC",
    "AUTOTVM_TOPHUB_ROOT_PATH",
    "REFERENCE_LOG_CACHE",
    "context",
    "check_backend",
    "download_package",
    "load_reference_log",
)

_before: dict[str, Any] = {}

# The indexes of locations on the web, by name.
_answers: dict[str, Index] = {}


def __getattr__(name: str) -> Any:
    if name == "AUTOTVM_TOPHUB_DEFAULT_LOC":  # an address, to which a client appends /{package}_{version}.log
        from tophub_registry.packages.location import builtin

        return builtin().path.resolve().as_uri()
    if name == "AUTOTVM_TOPHUB_ROOT_PATH":
        from tophub_registry.packages.root import Root

        return Root.at().path
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), "AUTOTVM_TOPHUB_DEFAULT_LOC", "AUTOTVM_TOPHUB_ROOT_PATH"})


def _autotvm() -> Any:
    from tophub_registry.errors import EnvironmentFailure

    try:
        from tvm import autotvm
    except ImportError as error:
        raise EnvironmentFailure(
            f"no TVM with AutoTVM is installed: {error}",
            remedy="TVM 0.7 to 0.19 have AutoTVM; on today's TVM use `tophub compile`",
        ) from error
    return autotvm


def _ask(location: Location) -> Index:
    """Return a location's index; one on the web is read once per process."""
    from tophub_registry.packages.follow import ask_index, ask_or_recall
    from tophub_registry.packages.index import now
    from tophub_registry.packages.location import Web
    from tophub_registry.packages.root import Root

    if not isinstance(location, Web):
        return ask_index(location)
    if location.name not in _answers:
        _answers[location.name], notices = ask_or_recall(location, Root.at(), now())
        _tell(notices)
    return _answers[location.name]


def _targets(target: Any) -> Iterator[Any]:
    """Yield our parsed targets, for a target of TVM's, a string, or a collection of these."""
    import tvm

    from tophub_registry.records.target import Target

    if isinstance(target, (str, tvm.target.Target)):
        target = [target]
    for one in target.values() if isinstance(target, dict) else target:
        yield Target.parse(str(one))


def _sources(target: Any, location: Location | None, own: list[Path]) -> Sequence[Any]:
    """Return the logs to search; without TopHub's package, as AutoTVM does, if that is not available."""
    from tophub_registry.errors import EnvironmentFailure
    from tophub_registry.packages.lock import lock_in_effect
    from tophub_registry.packages.root import Root
    from tophub_registry.packages.sources import find_sources
    from tophub_registry.packages.told import not_yet_told
    from tophub_registry.packages.version import Version

    pins = {package: Version.parse(version) for package, version in PACKAGE_VERSION.pins.items()}
    try:
        index = None if location is None or lock_in_effect() is not None else _ask(location)
        found = find_sources(target, location, Root.at(), own=own, index=index, pins=pins)
    except EnvironmentFailure as error:
        logger.warning("TopHub's package for %s is not available: %s", target, error)
        found = find_sources(target, None, Root.at(), own=own)
    _tell(not_yet_told((notice for notice in found.notices if notice.rule != "switched-off"), Root.at()))
    return found.logs


def _package_file(backend: str, tophub_location: str | None = None) -> Path | None:
    """Return a backend's package, fetched if necessary; None if it is not here and fetching is switched off."""
    from tophub_registry.packages.fetch import fetch
    from tophub_registry.packages.folder import version_here
    from tophub_registry.packages.index import resolve
    from tophub_registry.packages.location import builtin, find_location
    from tophub_registry.packages.lock import lock_in_effect
    from tophub_registry.packages.locked import fetch_locked
    from tophub_registry.packages.root import Root
    from tophub_registry.packages.version import Reference, Version
    from tophub_registry.records.lookup import backend_of
    from tophub_registry.records.target import Target

    package = backend_of(Target.parse(backend))
    if (lock := lock_in_effect()) is not None:
        done = fetch_locked(lock.only([Reference(package, None)]), find_location(tophub_location), Root.at(), ask=False)
        _tell(done.notices)
        return done.packages[0].path
    pin = PACKAGE_VERSION.pins.get(package)
    reference = Reference(package, Version.parse(pin) if pin else None)
    location = find_location(tophub_location)
    index = _ask(location or builtin())
    if location is None:
        if package not in index.packages:
            return None
        return version_here(Root.at().path, index, package, resolve(index, reference).version)
    done = fetch([reference], location, Root.at(), index=index)
    _tell(done.notices)
    return done.packages[0].path


def _reference_records(backend: str, model: str, workload_name: str) -> Iterator[Record]:
    from tophub_registry.errors import EnvironmentFailure, UsageError
    from tophub_registry.records.log import read_records

    try:
        path = _package_file(backend)
    except (EnvironmentFailure, UsageError) as error:
        logger.warning("TopHub's package for %s is not available: %s", backend, error)
        return
    if path is None:
        return
    counts: Counter[str] = Counter()
    records: dict[str, list[Record]] = defaultdict(list)
    for record in read_records(path):
        counts[record.target.model] += 1
        if record.input.task == workload_name:
            records[record.target.model].append(record)
    if model not in counts:
        model = counts.most_common(1)[0][0]
    yield from records[model]


def _helps(answer: Answer, target: Target) -> bool:
    """Return whether an answer is expected to be better than AutoTVM's default config."""
    from tophub_registry.errors import InputError
    from tophub_registry.templates.registry import instantiate
    from tophub_registry.templates.transfer import transfers

    if answer.record is None or not answer.match.is_evidence_only(target):
        return answer.record is not None
    try:
        template = instantiate(answer.record.input.task, answer.record.input.args)
        template.space.find(answer.record.config.entity)
    except InputError:
        return False
    return transfers(template, answer.record.config, target, answer.record.target)


def _for_target(record: Record, target: Target) -> Record:
    """Return a record with the target that it was found for, whose keys and model a client looks up."""
    return record.model_copy(update={"input": record.input._replace(target=str(target))})


def _decoded(records: Iterable[Record]) -> Iterator[tuple[Any, Any]]:
    """Yield records as AutoTVM's pairs of input and result, except those whose target this TVM can't parse."""
    import tvm
    from tvm.autotvm.record import decode

    unparsable: Counter[str] = Counter()
    for record in records:
        try:
            pair = decode(record.to_json())
        except (ValueError, KeyError, tvm.TVMError):  # noqa: PERF203  # each row is tried by itself
            unparsable[record.input.target] += 1
        else:
            yield pair
    for target, count in unparsable.items():
        logger.warning("This TVM does not know the target %r: %d records are left out", target, count)


def _tell(notices: Iterable[Notice]) -> None:
    for notice in notices:
        logger.warning("TopHub: %s", notice)
