"""Of many processes one may replace a file, whatever locks do; and the dead hold up nobody."""

import os
import subprocess
import sys
import threading
import time

import pytest

from tophub_registry.packages import exclusive
from tophub_registry.packages.exclusive import exclusively


@pytest.fixture
def path(tmp_path):
    return tmp_path / "file"


def claim_of(path):
    return path.with_name(".file.0000000000000000.part")


def test_one_at_a_time(path):
    inside, most = [], []

    def work():
        for _ in range(20):
            with exclusively(path) as alone:
                assert alone
                inside.append(1)
                most.append(len(inside))
                time.sleep(0.001)
                inside.pop()

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (len(most), max(most)) == (80, 1)
    assert list(path.parent.iterdir()) == []


def test_who_waits_too_long_may_not(path, monkeypatch):
    monkeypatch.setattr(exclusive, "PATIENCE", 0.1)
    with exclusively(path) as first, exclusively(path) as second:
        assert (first, second) == (True, False)
    with exclusively(path) as third:
        assert third


def test_the_claim_of_a_killed_process_holds_up_nobody(path):
    code = (
        "import os, sys; from pathlib import Path; from tophub_registry.packages.exclusive import exclusively\n"
        "with exclusively(Path(sys.argv[1])):\n    os.kill(os.getpid(), 9)"
    )
    assert subprocess.run([sys.executable, "-c", code, path], check=False).returncode == -9
    assert claim_of(path).exists()
    began = time.monotonic()
    with exclusively(path) as alone:
        assert alone
    assert time.monotonic() - began < 1


def test_the_claim_of_another_machine_is_respected_until_it_is_old(path, monkeypatch):
    monkeypatch.setattr(exclusive, "PATIENCE", 0.1)
    claim_of(path).write_text("another-machine pid:[1] 999999999")
    with exclusively(path) as alone:
        assert not alone
    os.utime(claim_of(path), (time.time() - 7200,) * 2)
    with exclusively(path) as alone:
        assert alone


@pytest.mark.slow
def test_a_folder_that_cannot_be_written_to(tmp_path):
    (tmp_path / "file").touch()
    with exclusively(tmp_path / "file" / "inner") as alone:
        assert not alone
