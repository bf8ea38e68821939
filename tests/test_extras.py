"""A missing extra: an ImportError that names the smallest extra that serves, and a command that works."""

from __future__ import annotations

import pickle
import subprocess
import sys
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from tophub_registry.errors import EnvironmentFailure, MissingExtra
from tophub_registry.extras import EXTRAS, extra_with

REPOSITORY = Path(__file__).parents[1]


def optional_dependencies() -> dict[str, list[Requirement]]:
    tomllib = pytest.importorskip("tomllib", reason="Python 3.11 brings it")
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return {name: list(map(Requirement, each)) for name, each in project["optional-dependencies"].items()}


def without(module: str, code: str) -> str:
    """Run code in a process that can't import a module, and return what it printed."""
    command = [sys.executable, "-c", f"import sys; sys.modules[{module!r}] = None\n{code}"]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def test_it_is_an_import_error_of_the_family_and_crosses_processes() -> None:
    error = MissingExtra("tune", ModuleNotFoundError("no", name="pebble"), needed_by="`tophub tune`")
    assert isinstance(error, ImportError)
    assert isinstance(error, EnvironmentFailure)
    assert (error.exit_code, error.name) == (3, "pebble")
    assert str(error).startswith("`tophub tune` needs the extra [tune]: 'pebble' is not installed (pip install ")
    assert str(pickle.loads(pickle.dumps(error))) == str(error)  # noqa: S301  # our own bytes


def test_the_command_works_where_the_user_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a checkout `.`, elsewhere the folder that pip installed from, or the name of what pip downloaded."""
    error = ModuleNotFoundError(name="tvm")
    monkeypatch.chdir(REPOSITORY)
    assert MissingExtra("compile", error).remedy == 'pip install ".[compile]"'
    monkeypatch.chdir(tmp_path)
    remedy = MissingExtra("compile", error).remedy or ""
    project = remedy.removeprefix('pip install "').removesuffix('[compile]"')
    assert project == "tophub-registry" or (Path(project) / "pyproject.toml").is_file()


@pytest.mark.parametrize(
    ("missing", "module", "extra"),
    [
        ("tvm", "compiler.compiler", "compile"),
        ("numpy", "compiler.choice", "compile"),
        ("pebble", "measurement.measure", "tune"),
        ("xgboost", "tuner.tune", "tune"),
    ],
)
def test_a_subpackage_says_what_it_needs(missing: str, module: str, extra: str) -> None:
    code = f"try: import tophub_registry.{module}\nexcept ImportError as error: print(error)"
    assert without(missing, code).startswith(f"this needs the extra [{extra}]: '{missing}' is not installed")


@pytest.mark.parametrize("missing", ["numpy", "tvm"])
def test_templates_are_read_on_the_base_install(missing: str) -> None:
    """Validation reads their spaces."""
    code = (
        "import importlib, pkgutil\nfrom tophub_registry import templates\n"
        "for each in pkgutil.iter_modules(templates.__path__):\n"
        "    importlib.import_module(f'tophub_registry.templates.{each.name}')\n"
        "print('all')"
    )
    assert without(missing, code) == "all"


def test_the_smallest_extra_is_named() -> None:
    assert [extra_with(name) for name in ("tvm.runtime", "pebble", "mxnet", "onnx", "torch", "plotly")] == [
        *("compile", "tune", "mxnet", "onnx", "torch", "report")
    ]
    assert extra_with("antigravity") is None
    assert extra_with(None) is None


def test_the_extras_are_those_of_the_project_and_tuning_brings_what_compiling_does() -> None:
    known = optional_dependencies()
    assert EXTRAS.keys() <= known.keys()
    assert next(each for each in known["tune"] if each.name == "tophub-registry").extras == {"compile"}
    assert not {each.name for each in known["compile"]} & {"pebble", "threadpoolctl"}


@pytest.mark.parametrize("extra", EXTRAS)
def test_no_extra_lets_pip_build_an_old_numpy_on_python_3_13(extra: str) -> None:
    here = {"python_version": "3.13", "python_full_version": "3.13.0", "extra": extra}
    wanted = [each for each in optional_dependencies()[extra] if each.marker is None or each.marker.evaluate(here)]
    assert not any(each.name in ("mxnet", "gluoncv") for each in wanted)
    assert all(each.specifier.contains("2.3.0") for each in wanted if each.name == "numpy")
