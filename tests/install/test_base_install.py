"""The base install: from a wheel, on every supported Python, without TVM, MXNet or NumPy."""

import importlib.util
import json
import os
import subprocess
import sys
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.pythons import NoPythonError, find_python
from tests.registries import write_rows
from tophub_registry._version import __version__

REPOSITORY = Path(__file__).parents[2]
VERSIONS = ("3.10", "3.11", "3.12", "3.13")
"""The supported ones."""

ENDS = [VERSIONS[0], *(pytest.param(version, marks=pytest.mark.exhaustive) for version in VERSIONS[1:-1]), VERSIONS[-1]]
"""Those in between are only tried by `make test-all`."""


@pytest.fixture(scope="module")
def check():
    """Return the tool as a module."""
    spec = importlib.util.spec_from_file_location("check_wheel", REPOSITORY / "tools" / "check_wheel.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def wheel(check, tmp_path_factory):
    return check.build(tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory):
    """Install the wheel for every version of Python that is here, two at a time; return their homes."""

    def install(version):
        try:
            python = find_python(version)
        except NoPythonError as error:
            return error
        home = tmp_path_factory.mktemp(f"python{version}")
        # Outside of it, pip need not be installed into it; nor need its files be compiled, most of which are not used.
        subprocess.run([python, "-m", "venv", "--without-pip", home / "env"], check=True)
        pip = [sys.executable, "-m", "pip", "--python", home / "env", "--disable-pip-version-check", "--quiet"]
        subprocess.run([*pip, "install", "--no-compile", wheel], check=True)
        return home

    with ThreadPoolExecutor(2) as threads:
        return dict(zip(VERSIONS, threads.map(install, VERSIONS), strict=True))


@pytest.fixture(scope="module", params=VERSIONS)
def tophub(request, installed):
    """Return a function that runs the wheel's `tophub` on one version of Python, away from the repository."""
    home = installed[request.param]
    if isinstance(home, NoPythonError):
        if os.environ.get("CI"):
            raise home
        pytest.skip(str(home))
    environment = {"HOME": str(home), "PATH": os.environ["PATH"]}

    def run(*arguments, code=0):
        command = [home / "env" / "bin" / "tophub", *map(str, arguments)]
        done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment, cwd=home)
        assert done.returncode == code, done.stderr
        return done

    return run


@pytest.mark.slow
def test_the_wheel_is_fit_to_be_uploaded(check, wheel):
    assert list(check.problems(wheel)) == []


@pytest.mark.parametrize(
    ("name", "data", "problem"),
    [
        ("tophub_registry/notes.txt", b"", "tophub_registry/notes.txt does not belong into it"),
        ("tests/test_it.py", b"", "tests/test_it.py does not belong into it"),
        ("tophub_registry/api.py", None, "tophub_registry/api.py is missing"),
        ("tophub_registry/registry_data/llvm_v0.05.log", b"", "llvm_v0.05.log is not what was published"),
        ("tophub_registry/registry_data/llvm_v0.05.log", None, "llvm_v0.05.log, which the index lists, is missing"),
        ("tophub_registry/registry_data/llvm_v9.99.log", b"", "llvm_v9.99.log is not in the index"),
        (
            "tophub_registry/registry_data/cuda_v0.23.model.json",
            b"",
            "cuda_v0.23.model.json is superseded: exclude it in pyproject.toml",
        ),
        ("{about}/METADATA", b"Name: other\n\n# It\n", "Name is 'other', not 'tophub-registry'"),
        ("{about}/entry_points.txt", b"", "it does not install the command `tophub`"),
        ("{about}/licenses/LICENSE", None, "no licenses/LICENSE"),
    ],
)
def test_a_wheel_that_is_not_fit_is_found(check, wheel, tmp_path, name, data, problem):
    wrong = tmp_path / wheel.name
    name = name.format(about=wheel.name.replace("-py3-none-any.whl", ".dist-info"))
    with zipfile.ZipFile(wheel) as given, zipfile.ZipFile(wrong, "w") as out:
        for each in given.namelist():
            if each != name and not each.endswith(".model.json"):
                out.writestr(each, given.read(each))
        if data is not None:
            out.writestr(name, data)
    assert problem in list(check.problems(wrong))


def test_a_wheel_that_is_too_large_is_found(check, wheel, monkeypatch):
    monkeypatch.setattr(check, "MAX_WHEEL", 1 << 20)
    (problem,) = check.problems(wheel)
    assert problem.endswith(" MB are more than 1.0")


def test_the_wheel_carries_the_registry_with_the_newest_cost_models(wheel):
    names = zipfile.ZipFile(wheel).namelist()
    index = json.loads((REPOSITORY / "registry_data" / "index.json").read_bytes())
    files = {version["file"] for package in index["packages"].values() for version in package.values()}
    newest = {"cuda_v0.24.model.json", "llvm_v0.17.model.json"}
    carried = {name.rpartition("/")[2] for name in names if name.startswith("tophub_registry/registry_data/")}
    assert carried == {"index.json", *files, *newest}


def test_the_wheel_carries_the_templates_and_scripts_of_pages(wheel):
    files = {path for kind in ("jinja", "css", "js") for path in (REPOSITORY / "tophub_registry").rglob(f"*.{kind}")}
    assert len(files) >= 6
    assert {str(path.relative_to(REPOSITORY)) for path in files} <= set(zipfile.ZipFile(wheel).namelist())


@pytest.mark.slow
def test_it_lists_fetches_validates_merges_and_releases(tophub, tmp_path):
    assert tophub("--version").stdout == f"tophub {__version__}\n"
    listed = json.loads(tophub("list", "--json").stdout)
    assert "llvm_v0.05.log" in json.dumps(listed)
    root = tmp_path / "root"
    tophub("fetch", "llvm@v0.05", "--root", root)
    fetched = root / "llvm_v0.05.log"
    assert fetched.read_bytes() == (REPOSITORY / "registry_data" / "llvm_v0.05.log").read_bytes()
    (validation,) = json.loads(tophub("validate", fetched, "--json").stdout)["logs"]
    assert (validation["errors"], validation["package"]) == (0, "llvm")
    new = write_rows(tmp_path / "new.log", 20, cost=5e-5)
    tophub("merge", fetched, new)
    merged = root / "llvm_v0.06.log"
    tophub("release", "llvm", merged, "--registry", tmp_path / "registry")
    tophub("fetch", "llvm", "--location", tmp_path / "registry", "--root", tmp_path / "other")
    assert (tmp_path / "other" / "llvm_v0.06.log").read_bytes() == merged.read_bytes()


def test_all_packages_are_fetched_into_the_home(tophub):
    tophub("fetch")


@pytest.mark.parametrize("tophub", ENDS[-1:], indirect=True)
@pytest.mark.parametrize("package", ["cuda", "llvm"])
def test_the_newest_logs_are_merged(tophub, tmp_path, package):
    """They have records of nearly all templates, whose spaces are read."""
    *_, older, newest = sorted((REPOSITORY / "registry_data").glob(f"{package}_v*.log"))
    tophub("merge", older, newest, "-o", tmp_path / "merged.log")
    assert (tmp_path / "merged.log").stat().st_size >= older.stat().st_size


@pytest.mark.parametrize("tophub", ENDS, indirect=True)
@pytest.mark.parametrize(
    ("arguments", "extra"),
    [
        (["tune", "resnet18_v1", "-o", "new.log"], "tune"),
        (["release", "llvm", "{log}", "--registry", "mine", "--prove"], "tune"),
        (["compile", "resnet18_v1"], "compile"),
        (["compile", "resnet18_v1", "--verify"], "tune"),
        (["bench", "resnet18_v1"], "compile"),
        (["gain", "resnet18_v1", "--log", "{log}"], "tune"),
        (["extract", "resnet18_v1"], "mxnet"),
        (["report", "{log}", "-o", "report.html"], "report"),
        (["contribute", "{log}"], "tune"),
    ],
)
def test_a_missing_extra_is_one_line_that_says_what_to_install(request, tophub, tmp_path, arguments, extra):
    log = write_rows(tmp_path / "old.log", 2)
    done = tophub(*(argument.format(log=log) for argument in arguments), code=3)
    assert f"`tophub {arguments[0]}` needs the extra [{extra}]: " in done.stderr
    assert f'pip install "tophub-registry[{extra}]"' in done.stderr
    assert len(done.stderr.splitlines()) == 1
    too_new = request.node.callspec.params["tophub"] == "3.13"
    assert ("MXNet needs Python 3.12 or older" in done.stderr) == (too_new and extra == "mxnet")
