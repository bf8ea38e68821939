"""`tophub doctor`, as a user types it; what it finds is tested in tests/doctor."""

import json
import os
import subprocess
import sys
import time

import pytest

from tests.registries import write_rows
from tophub_registry.cli import main
from tophub_registry.doctor import examine, machine
from tophub_registry.publishing.release import release


@pytest.fixture
def home(tmp_path, monkeypatch):
    for name in ("TVM_NUM_THREADS", "OMP_NUM_THREADS", "TOPHUB_LOCK", "TOPHUB_MISSES", "TOPHUB_PROCESSOR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("TOPHUB_LOCATION", str(tmp_path / "registry"))
    monkeypatch.chdir(tmp_path)
    release("llvm", write_rows(tmp_path / "llvm_v0.05.log", 3), tmp_path / "registry")
    return tmp_path / "home"


def run(capsys, *arguments):
    with pytest.raises(SystemExit) as caught:
        main(["doctor", *arguments])
    output = capsys.readouterr()
    return caught.value.code or 0, output.out, output.err


def test_a_sound_installation_has_no_error(home, capsys):
    started = time.monotonic()
    code, out, err = run(capsys)
    assert (code, err) == (0, ""), out
    assert out.splitlines()[-1].startswith("0 errors, ")
    assert "location" in out
    assert time.monotonic() - started < 30
    assert not home.exists(), "nothing is changed"


@pytest.mark.slow
def test_an_error_has_its_remedy_and_the_exit_code(home, capsys):
    root = home / ".tvm" / "tophub"
    root.mkdir(parents=True)
    (root / ".indexes").mkdir()
    (root / ".indexes" / "0.json").write_text("{")
    code, out, _ = run(capsys, "--json")
    assert code == 1
    (error,) = (check for check in json.loads(out)["checks"] if check["level"] == "error")
    assert error["remedy"] == "delete it; the next fetch from its location writes it anew"
    code, out, _ = run(capsys)
    assert code == 1
    assert "→ delete it; the next fetch" in out


@pytest.mark.usefixtures("home")
def test_a_check_that_fails_itself_hides_no_other(monkeypatch, capsys):
    def broken(*_, **__):
        raise RuntimeError("unheard of")

    monkeypatch.setattr(machine, "threads", broken)
    monkeypatch.setattr(examine.registry, "hashes", broken)
    code, out, _ = run(capsys, "--json")
    assert code == 1
    checks = json.loads(out)["checks"]
    failed = [check["topic"] for check in checks if check["message"] == "can't be checked: RuntimeError: unheard of"]
    assert failed == ["files", "threads"]
    assert {"root", "location", "processor", "gpu"} <= {check["topic"] for check in checks}


@pytest.mark.usefixtures("home")
def test_a_terminal_that_can_show_ascii_only_and_a_folder_that_is_gone(tmp_path):
    (tmp_path / "gone").mkdir()
    script = f"import os; os.rmdir({str(tmp_path / 'gone')!r}); from tophub_registry.cli import main; main(['doctor'])"
    environment = {**os.environ, "PYTHONIOENCODING": "ascii", "TVM_NUM_THREADS": "abc"}
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, sys.path))
    command = [sys.executable, "-c", script]
    done = subprocess.run(command, cwd=tmp_path / "gone", env=environment, capture_output=True, text=True, check=False)
    assert "Traceback" not in done.stderr
    assert "TVM_NUM_THREADS=abc" in done.stdout
    assert done.stdout.splitlines()[-1].endswith("warning") or "warnings" in done.stdout.splitlines()[-1]
