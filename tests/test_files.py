"""A file is there whole or not at all, is made as the process makes files, and is blamed for its own errors only."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.records.rows import record
from tophub_registry import files
from tophub_registry.errors import EnvironmentFailure, UsageError
from tophub_registry.files import atomic_write
from tophub_registry.records.appender import LogAppender


def write(path, data=b"new", **options):
    with atomic_write(path, **options) as stream:
        stream.write(data)


def test_the_mode_is_the_processs_own_and_its_umask_is_never_touched(tmp_path):
    """Nor may another thread's files be readable for a moment."""
    before = os.umask(0o077)
    try:
        done = threading.Event()

        def others():
            number = 0
            while not done.is_set():
                number += 1
                (tmp_path / f"other{number % 50}").unlink(missing_ok=True)
                descriptor = os.open(tmp_path / f"other{number % 50}", os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666)
                mode = os.fstat(descriptor).st_mode & 0o777
                os.close(descriptor)
                if mode != 0o600:
                    return mode
            return 0o600

        with ThreadPoolExecutor(1) as pool:
            found = pool.submit(others)
            for _ in range(300):
                write(tmp_path / "file", overwrite=True)
            done.set()
            assert found.result() == 0o600
        assert (tmp_path / "file").stat().st_mode & 0o777 == 0o600
    finally:
        os.umask(before)
    write(tmp_path / "open")
    assert (tmp_path / "open").stat().st_mode & 0o777 == 0o666 & ~before


def test_an_error_of_the_block_is_its_own(tmp_path):
    with pytest.raises(IsADirectoryError), atomic_write(tmp_path / "out"):
        tmp_path.read_bytes()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_folder_is_not_written_to_as_a_file(tmp_path, overwrite):
    with pytest.raises(UsageError, match="this is a folder"):
        write(tmp_path, overwrite=overwrite)


def test_a_full_disk_is_told_of_the_file():
    with (
        pytest.raises(EnvironmentFailure, match="No space left") as caught,
        files._Raw(os.open("/dev/full", os.O_WRONLY), "out.log") as raw,
    ):
        raw.write(b"x")
    assert caught.value.file == "out.log"


@pytest.mark.parametrize("renaming", [True, False])
def test_without_hard_links_nothing_is_overwritten_either(tmp_path, monkeypatch, renaming):
    def no_links(*_):
        raise OSError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "link", no_links)
    if not renaming:
        monkeypatch.setattr(files.ctypes, "CDLL", lambda *_, **__: object())
    write(tmp_path / "file")
    assert (tmp_path / "file").read_bytes() == b"new"
    with pytest.raises(UsageError, match="already there"), atomic_write(tmp_path / "late"):
        (tmp_path / "late").write_bytes(b"theirs")
    assert (tmp_path / "late").read_bytes() == b"theirs"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "late"]


WRITING = """
import sys
from tophub_registry.files import atomic_write

with atomic_write(sys.argv[1]) as stream:
    stream.write(b"half of it")
    stream.flush()
    print("ready", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def writing(tmp_path):
    """Start a process that is in the middle of writing a file; return it and the temporary file, an old one."""
    command = [sys.executable, "-c", WRITING, tmp_path / "killed.log"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        process.stdout.readline()
        (temporary,) = tmp_path.glob(".killed.log.*.part")
        age(temporary, 7200)
        yield process, temporary
        process.kill()


def age(path, seconds):
    os.utime(path, (time.time() - seconds,) * 2)


def test_what_a_killed_process_left_behind_is_deleted_by_the_next_write_into_the_folder(tmp_path, writing):
    process, temporary = writing
    write(tmp_path / "other.log")
    assert temporary.exists(), "its writer is alive"
    process.send_signal(signal.SIGKILL)
    process.wait()
    write(tmp_path / "another.log")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["another.log", "other.log"]


def test_what_may_still_be_written_or_is_somebody_elses_is_not_deleted(tmp_path):
    names = [".new.log.0123456789abcdef.part", ".theirs.part", ".log.0123456789abcdef.part.bak", "film.part"]
    for name in names:
        (tmp_path / name).touch()
        age(tmp_path / name, 0 if name == names[0] else 7200)
    (tmp_path / ".link.0123456789abcdef.part").symlink_to(tmp_path / "film.part")
    write(tmp_path / "file")
    assert all((tmp_path / name).exists() for name in names)


def test_without_locks_what_nobody_has_written_to_for_an_hour_is_deleted(tmp_path, monkeypatch):
    def no_locks(*_):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(files.fcntl, "flock", no_locks)
    old, young = (tmp_path / f".file.{number:016x}.part" for number in range(2))
    for path, seconds in ((old, 7200), (young, 1800)):
        path.touch()
        age(path, seconds)
    write(tmp_path / "file")
    assert (old.exists(), young.exists()) == (False, True)


def test_a_clock_that_was_set_back_keeps_no_leftover(tmp_path):
    left = tmp_path / ".file.0123456789abcdef.part"
    left.touch()
    age(left, -86400 * 365)
    write(tmp_path / "file")
    assert not left.exists()


def test_a_clock_that_was_set_back_takes_no_file_from_its_writer(tmp_path, writing):
    _, temporary = writing
    age(temporary, -86400 * 365)
    write(tmp_path / "other.log")
    assert temporary.exists()


def test_one_process_at_a_time_appends_to_a_log(tmp_path):
    """A second one would cut off the first one's half-written row."""
    with LogAppender(tmp_path / "new.log") as first:
        first.append([record()])
        with pytest.raises(EnvironmentFailure, match="another process is appending to this log"):
            LogAppender(tmp_path / "new.log")
        first.append([record(channels=128)])
    with LogAppender(tmp_path / "new.log"):
        pass
    assert len((tmp_path / "new.log").read_text().splitlines()) == 2


def test_who_exits_in_the_midst_of_it_leaves_nothing(tmp_path):
    """Without unwinding, as Ctrl-C ends a command that is inside TVM."""
    code = (
        "import atexit, os; from tophub_registry.files import atomic_write\n"
        "block = atomic_write('new.log'); block.__enter__().write(b'half')\n"
        "print(*os.listdir(), flush=True); atexit._run_exitfuncs(); os._exit(0)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True, capture_output=True, text=True)
    assert done.stdout.strip().endswith(".part")
    assert list(tmp_path.iterdir()) == []


def test_who_exits_in_the_midst_of_a_long_download_finds_it_again(tmp_path):
    code = (
        "import atexit, os, sys; from pathlib import Path; from tophub_registry.files import atomic_write\n"
        "block = atomic_write('new.log', aside=Path('aside')); stream = block.__enter__(); print(len(stream.read()))\n"
        "stream.write(bytes(1 << 20)); stream.flush(); sys.stdout.flush(); atexit._run_exitfuncs(); os._exit(0)"
    )
    for size in (1 << 20, 2 << 20):
        done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True, capture_output=True, text=True)
        assert int(done.stdout) == size - (1 << 20)
        assert [(path.name, path.stat().st_size) for path in tmp_path.iterdir()] == [("aside", size)]
