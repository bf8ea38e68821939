"""The old client's environment: found where $TOPHUB_OLD_CLIENT says, else built once in `.cache/old-client`.

`python -m tests.old_client.environment` builds it, if need be, and prints its Python. It may be run many times at
once; an environment whose building was interrupted, or whose requirements have changed, is built anew.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock

from tests.pythons import NoPythonError, find_python

HERE = Path(__file__).parent
REQUIREMENTS = HERE / "requirements.txt"
CACHE = HERE.parents[1] / ".cache" / "old-client"
VERSION = "3.10"
"""The one version of Python that hhb-tvm is built for."""


class NoOldClientError(Exception):
    """There is no such environment, and none can be built here."""


class OldClientError(Exception):
    """A script failed in the old client's environment."""


@dataclass(frozen=True)
class OldClient:
    """An environment with hhb-tvm.

    Attributes
    ----------
    python
        Its interpreter.
    """

    python: Path

    def run(
        self,
        script: str,
        *arguments: object,
        home: str | Path | None = None,
        location: str = "NONE",
        timeout: float = 900,
        env: Mapping[str, str] | None = None,
    ) -> Any:
        """Run a script of `tests/old_client/scripts` and return what it says: the JSON value of its last line.

        Parameters
        ----------
        script
            The file's name without `.py`.
        arguments
            Its command line.
        home
            The home folder, in which TVM keeps `~/.tvm/tophub`; a new and empty one by default.
        location
            The value of `TOPHUB_LOCATION`; nothing is downloaded by default.
        timeout
            In seconds.
        env
            More environment variables.

        Raises
        ------
        OldClientError
            The script failed, or took longer than `timeout`.
        """
        with tempfile.TemporaryDirectory(prefix="old-client-") as scratch:
            home = Path(scratch) if home is None else Path(home)
            variables = {key: value for key, value in os.environ.items() if not key.startswith(("PYTHON", "TVM_"))}
            variables |= {"HOME": str(home), "TOPHUB_LOCATION": location, **(env or {})}
            process = subprocess.Popen(
                [str(self.python), str(HERE / "scripts" / f"{script}.py"), *map(str, arguments)],
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                cwd=scratch,
                env=variables,
                start_new_session=True,
            )
            try:
                output, errors = process.communicate(timeout=timeout)
            except BaseException as error:
                os.killpg(process.pid, signal.SIGKILL)  # its builders and runners, too
                process.communicate()
                if isinstance(error, subprocess.TimeoutExpired):
                    raise OldClientError(f"{script} took more than {timeout:.0f} s") from None
                raise
        if process.returncode != 0:
            raise OldClientError(f"{script} failed with {process.returncode}:\n{errors[-4000:]}")
        return json.loads(output.splitlines()[-1])


def find_or_build() -> OldClient:
    """Return the old client, building its environment on the first call: a minute and 2 GB.

    Raises
    ------
    NoOldClientError
        $TOPHUB_OLD_CLIENT names no such environment, there is no Python 3.10, or pip failed.
    """
    if given := os.environ.get("TOPHUB_OLD_CLIENT"):
        python = Path(given) / "bin" / "python"
        if not python.exists():
            raise NoOldClientError(f"$TOPHUB_OLD_CLIENT: there is no {python}")
        return OldClient(python)
    CACHE.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(CACHE.with_suffix(".lock")):
        if not is_complete(CACHE):
            _build(CACHE)
    return OldClient(CACHE / "bin" / "python")


def is_complete(folder: Path) -> bool:
    """Whether an environment was built to the end, with today's requirements."""
    try:
        return _mark(folder).read_text() == _digest() and (folder / "bin" / "python").exists()
    except OSError:
        return False


def _mark(folder: Path) -> Path:
    return folder / "complete"


def _digest() -> str:
    return hashlib.sha256(REQUIREMENTS.read_bytes()).hexdigest()


def _build(folder: Path) -> None:
    try:
        base = find_python(VERSION)
    except NoPythonError as error:
        raise NoOldClientError(str(error)) from error
    shutil.rmtree(folder, ignore_errors=True)
    _call([base, "-m", "venv", folder])
    pip = [folder / "bin" / "python", "-m", "pip", "--disable-pip-version-check", "--quiet"]
    _call([*pip, "install", "--prefer-binary", "--requirement", REQUIREMENTS])
    _mark(folder).write_text(_digest())


def _call(command: list[str | Path]) -> None:
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise NoOldClientError(f"{' '.join(map(str, command))} failed:\n{(done.stderr or done.stdout)[-4000:]}")


if __name__ == "__main__":
    try:
        sys.stdout.write(f"{find_or_build().python}\n")
    except NoOldClientError as error:
        sys.exit(f"no old client: {error}")
