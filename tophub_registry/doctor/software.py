"""Whether what is installed fits together: Python, TVM, NumPy, MXNet, ONNX, PyTorch, XGBoost.

Versions come from the packages' metadata, and nothing is imported.
"""

from __future__ import annotations

import platform
import re
import sys
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from packaging.specifiers import SpecifierSet
from packaging.version import InvalidVersion, Version

from tophub_registry._version import __version__
from tophub_registry.doctor.check import Check
from tophub_registry.extras import EXTRAS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tophub_registry.doctor.asking import Answers

WANTED = {
    "apache-tvm": "==0.27.0.post1",
    "apache-tvm-ffi": "==0.1.14.post1",
    "numpy": ">=1.26",
    "xgboost-cpu": ">=3.0,<4",
    "pebble": ">=5.1",
    "threadpoolctl": ">=3.5",
    "mxnet": "==1.9.1",
    "gluoncv": "==0.10.5.post0",
    "onnx": ">=1.17,<2",
    "onnxruntime": ">=1.20,<2",
    "torch": ">=2.6,<3",
}
"""The versions that our extras ask for, by distribution."""

PYTHONS = ("3.10", "3.13")
"""The oldest and the newest Python that are supported."""

_NUMPY_OF_MXNET = SpecifierSet("<2")


def python() -> Iterator[Check]:
    """Check the interpreter and the system."""
    here = ".".join(map(str, sys.version_info[:2]))
    place = Path(__file__).parents[1]
    said = (
        f"tophub {__version__} in {place}, Python {platform.python_version()}, {platform.system()} {platform.machine()}"
    )
    oldest, newest = map(Version, PYTHONS)
    if not oldest <= Version(here) <= newest:
        yield Check("python", "warning", f"{said}: not tested with it", f"use Python {oldest} to {newest}")
    elif (platform.system(), platform.machine()) != ("Linux", "x86_64"):
        yield Check("python", "warning", f"{said}: not tested there", "use Linux on x86-64")
    else:
        yield Check("python", "ok", said)


def tvm(answers: Answers | None) -> Iterator[Check]:
    """Check the module `tvm`: whose it is, its version, and that it works.

    Parameters
    ----------
    answers
        What it has said of itself; None if it is not installed.
    """
    if answers is None:
        yield Check(
            "tvm", "ok", "not installed: fetch, merge and release work; compile and tune need the extra [compile]"
        )
        return
    owners = _owners_of_tvm()
    if len(owners) > 1:
        both = " and ".join(f"{name} {number}" for name, number in sorted(owners.items()))
        remedy = "keep each in an environment of its own: `pip uninstall` both, then install one"
        yield Check("tvm", "error", f"{both} install the same module, tvm", remedy)
        return
    if _has_autotvm():
        number = answers.facts.get("version") or next(iter(owners.values()), "of an old version")
        yield Check(
            "tvm",
            "warning",
            f"TVM {number} with AutoTVM: `tophub_registry.tophub.enable()` serves it; compile and tune do not work",
            f"for these, install apache-tvm{WANTED['apache-tvm']} in another environment",
        )
        return
    yield from _todays(owners, answers)


def _todays(owners: dict[str, str], answers: Answers) -> Iterator[Check]:
    needed = " ".join(f"{name}{WANTED[name]}" for name in ("apache-tvm", "apache-tvm-ffi"))
    remedy = f"pip install {needed}"
    number, ffi = owners.get("apache-tvm"), _installed().get("apache-tvm-ffi")
    if number is None:
        place = answers.facts.get("place", "somewhere on the path")
        yield Check("tvm", "warning", f"a TVM that pip did not install, in {place}: not tested with it", remedy)
    elif not _fits("apache-tvm", number):
        yield Check("tvm", "error", f"apache-tvm {number}, and {WANTED['apache-tvm'][2:]} is needed", remedy)
    if number is not None and (ffi is None or not _fits("apache-tvm-ffi", ffi)):
        said = "is not installed" if ffi is None else f"{ffi} crashes with apache-tvm {number} when IR is serialised"
        yield Check("tvm", "error", f"apache-tvm-ffi {said}", remedy)
    for error in answers.errors.values():
        yield Check("tvm", "error", " ".join(error.split()), remedy)
    if answers.end is not None:
        yield Check("tvm", "error", f"{answers.unfinished} {answers.end}", remedy)
    fit = number and ffi and _fits("apache-tvm", number) and _fits("apache-tvm-ffi", ffi)
    if fit and not answers.errors and answers.end is None:
        llvm = f", LLVM {answers.facts['llvm']}" if "llvm" in answers.facts else ""
        yield Check("tvm", "ok", f"apache-tvm {number} with apache-tvm-ffi {ffi}{llvm}")


def numpy() -> Iterator[Check]:
    """Check NumPy, of which MXNet and TVM want different things."""
    installed = _installed()
    number = installed.get("numpy")
    if number is None:
        if "apache-tvm" in installed or "mxnet" in installed:
            remedy = f'pip install "numpy{WANTED["numpy"]}"'
            yield Check("numpy", "error", "not installed, and TVM and MXNet need it", remedy)
        return
    if "mxnet" in installed and not _within(number, _NUMPY_OF_MXNET):
        remedy = 'pip install "numpy<2"'
        yield Check("numpy", "error", f"numpy {number}, and mxnet {installed['mxnet']} needs NumPy 1", remedy)
    elif not _fits("numpy", number) and not _has_autotvm():
        remedy = f'pip install "numpy{WANTED["numpy"]}"' if "mxnet" not in installed else 'pip install "numpy>=1.26,<2"'
        yield Check("numpy", "warning", f"numpy {number}: not tested with it", remedy)
    else:
        yield Check("numpy", "ok", f"numpy {number}")


def frameworks() -> Iterator[Check]:
    """Check the versions of the frameworks that models come from."""
    installed = _installed()
    here = ".".join(map(str, sys.version_info[:2]))
    if "mxnet" in installed and Version(here) >= Version("3.13"):
        yield Check("mxnet", "error", f"MXNet does not run on Python {here}", "use Python 3.12 or older")
    if "gluoncv" in installed and "mxnet" not in installed:
        remedy = f"pip install mxnet{WANTED['mxnet']}"
        yield Check("mxnet", "error", "gluoncv is installed without MXNet", remedy)
    for name in ("mxnet", "gluoncv", "onnx", "onnxruntime", "torch"):
        number = installed.get(name)
        if number is not None and _fits(name, number):
            yield Check("frameworks", "ok", f"{name} {number}")
        elif number is not None:
            yield Check("frameworks", "warning", f"{name} {number}: not tested with it", _install(name))


def cost_models() -> Iterator[Check]:
    """Check XGBoost, which comes under two names, and whose module is the same."""
    installed = _installed()
    found = {name: installed[name] for name in ("xgboost-cpu", "xgboost") if name in installed}
    if not found:
        if "apache-tvm" in installed:
            said = "XGBoost is not installed: cost models can't be used"
            yield Check("xgboost", "warning", said, _install("xgboost-cpu"))
        return
    name, number = next(iter(found.items()))
    if _fits("xgboost-cpu", number) or _has_autotvm():
        yield Check("xgboost", "ok", f"{name} {number}")
    else:
        yield Check("xgboost", "warning", f"{name} {number}: not tested with it", _install("xgboost-cpu"))


def extras() -> Iterator[Check]:
    """List the extras that are installed, and those that are not."""
    others = {"tvm"} if _has_autotvm() else set()  # the extras mean today's
    there = [extra for extra, modules in EXTRAS.items() if all(map(is_there, modules)) and not others & {*modules}]
    missing = [extra for extra in EXTRAS if extra not in there]
    yield Check(
        "extras", "ok", f"installed: {', '.join(there) or 'none'}; not installed: {', '.join(missing) or 'none'}"
    )


def is_there(module: str) -> bool:
    """Return whether a module can be found; it is not imported."""
    try:
        return find_spec(module) is not None
    except (ImportError, ValueError):  # something strange stands in its place
        return False


def _has_autotvm() -> bool:
    """Return whether the module tvm is an old one, which wants older versions of the others too."""
    spec = find_spec("tvm")
    places = [] if spec is None else spec.submodule_search_locations or []
    return any((Path(place) / "autotvm").is_dir() for place in places)


def _installed() -> dict[str, str]:
    """Return the versions of the installed distributions, by normalised name."""
    return {name: number for name, number, _ in _distributions()}


def _owners_of_tvm() -> dict[str, str]:
    """Return the installed distributions that have the module `tvm`."""
    return {
        name: number
        for name, number, distribution in _distributions()
        if "tvm" in name and re.search(r"(?m)^tvm/__init__\.py,", distribution.read_text("RECORD") or "")
    }


def _distributions() -> Iterator[tuple[str, str, metadata.Distribution]]:
    """Yield each installed distribution's name and version; of one name the first on the path counts, as in Python."""
    seen = set()
    for distribution in metadata.distributions():
        try:
            name, number = distribution.metadata["Name"], distribution.version
        except Exception:  # noqa: BLE001, S112  # a damaged distribution must not hide the others
            continue
        name = re.sub(r"[-_.]+", "-", name or "").lower()
        if name and number and name not in seen:
            seen.add(name)
            yield name, number, distribution


def _fits(name: str, number: str) -> bool:
    return _within(number, SpecifierSet(WANTED[name]))


def _within(number: str, wanted: SpecifierSet) -> bool:
    try:
        return wanted.contains(Version(number), prereleases=True)
    except InvalidVersion:
        return False


def _install(name: str) -> str:
    return f'pip install "{name}{WANTED[name]}"'
