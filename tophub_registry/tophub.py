"""TopHub's names as AutoTVM's own module has them, answered from this project's registry.

`PACKAGE_VERSION` is read from an index when it is looked at, not written here: the index of the location in
effect (`TOPHUB_LOCATION`, by default the copy inside the installation). The names are those of
`tvm.autotvm.tophub` of TVM 0.7 to 0.19.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

    PACKAGE_VERSION: dict[str, str]
    AUTOTVM_TOPHUB_DEFAULT_LOC: str
    AUTOTVM_TOPHUB_ROOT_PATH: Path

AUTOTVM_TOPHUB_LOC_VAR = "TOPHUB_LOCATION"
"""The environment variable that names the location."""

AUTOTVM_TOPHUB_NONE_LOC = "NONE"
"""Its value that forbids all fetching."""


def __getattr__(name: str) -> Any:
    computed = _COMPUTED.get(name)
    if computed is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return computed()


def __dir__() -> list[str]:
    return sorted({*globals(), *_COMPUTED})


def _package_version() -> dict[str, str]:
    """Return each package's newest version that is not yanked.

    A location on the web is asked for its index only where it never was before; where fetching is switched
    off, the builtin registry answers.
    """
    from tophub_registry.packages.fetch import ask_index
    from tophub_registry.packages.location import Web, builtin, find_location
    from tophub_registry.packages.root import Root

    location = find_location() or builtin()
    index = Root.at().remembered(location) if isinstance(location, Web) else None
    index = index or ask_index(location)
    newest = {package: index.newest(package) for package in sorted(index.packages)}
    return {package: str(version) for package, version in newest.items() if version is not None}


def _default_location() -> str:
    """Return the builtin registry as an address, to which a client appends `/{package}_{version}.log`."""
    from tophub_registry.packages.location import builtin

    return builtin().path.resolve().as_uri()


def _root_path() -> Path:
    from tophub_registry.packages.root import Root

    return Root.at().path


_COMPUTED = {
    "PACKAGE_VERSION": _package_version,
    "AUTOTVM_TOPHUB_DEFAULT_LOC": _default_location,
    "AUTOTVM_TOPHUB_ROOT_PATH": _root_path,
}
