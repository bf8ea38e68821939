"""The base install: from a wheel, on every supported Python, without TVM, MXNet or NumPy."""

import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.pythons import NoPythonError, find_python
from tests.registries import write_rows

REPOSITORY = Path(__file__).parents[2]
VERSIONS = ["3.10", *(pytest.param(version, marks=pytest.mark.exhaustive) for version in ("3.11", "3.12")), "3.13"]
"""The supported ones; those in between are only tried by `make test-all`."""

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", folder, REPOSITORY]
    subprocess.run(command, check=True)
    return next(folder.glob("*.whl"))


@pytest.fixture(scope="module", params=VERSIONS)
def tophub(request, wheel, tmp_path_factory):
    """Install the wheel for one version of Python; return a function that runs its `tophub`."""
    try:
        python = find_python(request.param)
    except NoPythonError as error:
        if os.environ.get("CI"):
            raise
        pytest.skip(str(error))
    home = tmp_path_factory.mktemp(f"python{request.param}")
    subprocess.run([python, "-m", "venv", home / "env"], check=True)
    pip = [home / "env" / "bin" / "python", "-m", "pip", "--disable-pip-version-check", "--quiet"]
    subprocess.run([*pip, "install", wheel], check=True)
    environment = {"HOME": str(home), "PATH": os.environ["PATH"]}

    def run(*arguments, code=0):
        command = [home / "env" / "bin" / "tophub", *map(str, arguments)]
        done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment, cwd=home)
        assert done.returncode == code, done.stderr
        return done

    return run


def test_the_wheel_carries_the_registry(wheel):
    names = zipfile.ZipFile(wheel).namelist()
    index = json.loads((REPOSITORY / "registry_data" / "index.json").read_bytes())
    versions = [version for package in index["packages"].values() for version in package.values()]
    files = {version["file"] for version in versions} | {its["model"]["file"] for its in versions if "model" in its}
    carried = {name.rpartition("/")[2] for name in names if name.startswith("tophub_registry/registry_data/")}
    assert carried == {"index.json", *files}


def test_the_wheel_carries_the_templates_and_scripts_of_pages(wheel):
    files = {path for kind in ("jinja", "css", "js") for path in (REPOSITORY / "tophub_registry").rglob(f"*.{kind}")}
    assert len(files) >= 6
    assert {str(path.relative_to(REPOSITORY)) for path in files} <= set(zipfile.ZipFile(wheel).namelist())


def test_logs_are_merged_released_fetched_and_listed(tophub, tmp_path):
    old = write_rows(tmp_path / "llvm_v0.05.log", 20)
    new = write_rows(tmp_path / "new.log", 20, start=10, cost=5e-5)
    tophub("merge", old, new)
    tophub("release", "llvm", tmp_path / "llvm_v0.06.log", "--registry", tmp_path / "registry")
    tophub("fetch", "llvm", "--location", tmp_path / "registry", "--root", tmp_path / "root")
    assert (tmp_path / "root" / "llvm_v0.06.log").read_bytes() == (tmp_path / "llvm_v0.06.log").read_bytes()
    listed = json.loads(
        tophub("list", "--location", tmp_path / "registry", "--root", tmp_path / "root", "--json").stdout
    )
    assert "llvm_v0.06.log" in json.dumps(listed)


def test_the_builtin_registry_is_fetched_into_the_home(tophub):
    tophub("fetch")
    tophub("list")


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
