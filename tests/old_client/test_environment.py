"""The old client's environment is found or built once, and a half-built one is not taken for it."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.old_client import environment
from tests.old_client.environment import NoOldClientError, OldClientError, find_or_build, is_complete
from tests.pythons import NoPythonError, find_python


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """A place for environments of one small package, and none given."""
    monkeypatch.delenv("TOPHUB_OLD_CLIENT", raising=False)
    monkeypatch.setattr(environment, "CACHE", tmp_path / ".cache" / "old-client")
    monkeypatch.setattr(environment, "REQUIREMENTS", tmp_path / "requirements.txt")
    (tmp_path / "requirements.txt").write_text("# nothing\n")
    return environment.CACHE


def executable(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return path


@pytest.mark.slow
def test_a_half_built_one_is_built_anew_and_only_once_until_its_requirements_change(cache, old_client):
    (cache / "bin").mkdir(parents=True)
    (cache / "bin" / "python").symlink_to(old_client.python)
    (cache / "left").write_text("behind")
    assert not is_complete(cache)
    client = find_or_build()
    assert is_complete(cache)
    assert not (cache / "left").exists()
    built = client.python.lstat().st_mtime_ns
    assert find_or_build() == client
    assert client.python.lstat().st_mtime_ns == built
    version = subprocess.run([client.python, "-V"], capture_output=True, text=True, check=True).stdout
    assert version.startswith("Python 3.10.")
    environment.REQUIREMENTS.write_text("# others\n")
    assert not is_complete(cache)


def test_a_given_environment_is_taken_as_it_is(monkeypatch, tmp_path):
    python = executable(tmp_path / "bin" / "python", "exit 0")
    monkeypatch.setenv("TOPHUB_OLD_CLIENT", str(tmp_path))
    assert find_or_build().python == python
    monkeypatch.setenv("TOPHUB_OLD_CLIENT", str(tmp_path / "nowhere"))
    with pytest.raises(NoOldClientError, match="nowhere"):
        find_or_build()


def test_a_name_on_the_path_that_fails_is_passed_over(tmp_path, monkeypatch):
    """As pyenv's do, for a version that is not switched on."""
    executable(tmp_path / "shims" / "python3.10", "exit 127")
    good = executable(tmp_path / "pyenv" / "versions" / "3.10.13" / "bin" / "python3.10", 'echo "$0"')
    monkeypatch.setenv("PATH", str(tmp_path / "shims"))
    monkeypatch.setenv("PYENV_ROOT", str(tmp_path / "pyenv"))
    assert find_python("3.10") == str(good)
    good.unlink()
    with pytest.raises(NoPythonError, match=r"install one: 3\.10"):
        find_python("3.10")


@pytest.mark.slow
@pytest.mark.usefixtures("old_client")
def test_two_processes_build_one_environment(cache):
    code = (
        "import pathlib, sys\n"
        "from tests.old_client import environment\n"
        f"environment.CACHE = pathlib.Path({str(cache)!r})\n"
        f"environment.REQUIREMENTS = pathlib.Path({str(environment.REQUIREMENTS)!r})\n"
        "build = environment._build\n"
        "environment._build = lambda folder: (build(folder), print('built'))\n"
        "environment.find_or_build()\n"
    )
    env = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    processes = [subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, env=env) for _ in range(2)]
    outputs = [process.communicate(timeout=120)[0].split() for process in processes]
    assert sorted(outputs) == [[], [b"built"]]


@pytest.mark.slow
def test_a_script_that_fails_is_told_with_its_last_words(old_client):
    with pytest.raises(OldClientError, match=r"spaces failed with 1:(?s:.*)No such file.*nowhere\.json"):
        old_client.run("spaces", "nowhere.json", "llvm", 1, 0)


def test_a_script_that_hangs_is_ended(old_client, tmp_path):
    start = time.monotonic()
    with pytest.raises(OldClientError, match="took more than 1 s"):
        old_client.run("extract", "[]", timeout=1, home=tmp_path)
    assert time.monotonic() - start < 20
