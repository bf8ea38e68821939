"""Runs the documentation's blocks as a reader would, all in one process; `test_pages.py` starts it.

python -m tests.docs.run FOLDER PAGE…    writes a line of JSON for each page: {"page": …, "error": …, "seconds": …}

The tutorial is run in any case, since the other pages start with what it makes.

The command `tophub` runs in this process, which imports TVM once; other commands run in bash. What runs is shorter than
what the page says: see `SHORTER`.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import re
import shlex
import shutil
import socket
import subprocess
import sys
import time
import traceback
from collections.abc import Collection, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from tests.cost_model.trials import taught
from tests.docs.blocks import PAGES, ROOT, Block, blocks_of, commands
from tophub_registry.cli import main
from tophub_registry.packages.version import next_file
from tophub_registry.records.log import write_log

STARTS_WITH = {
    "README.md": ["model.onnx"],
    "todays-tvm.md": ["model.onnx"],
    "old-tvm.md": ["model.onnx"],
    "device.md": ["model.onnx"],
    "registry.md": ["new.log", "trials.log"],
    "maintaining.md": ["new.log"],
    "signing.md": ["new.log"],
    "catalogue.md": ["model.onnx", "new.log"],
    "misses.md": ["model.onnx"],
    "models.md": ["model.onnx"],
    "comparing.md": ["model.onnx"],
    "logs.md": ["model.onnx", "mine.log", "new.log"],
    "lookup.md": ["model.onnx"],
    "shell.md": ["model.onnx"],
}
"""The files that a page's folder has in the beginning, from the tutorial's folder; `new.log` is its `mine.log`.

`trials.log` has trials of several workloads.
"""

LINKED = {"old-tvm.md": ["registry_data"], "maintaining.md": ["tools"]}
"""The repository's own folders that a page's folder has: pages that only read them."""

_NEXT = str(next_file(max((ROOT / "registry_data").glob("llvm_v*.log")))).removesuffix(".log").rpartition("_")[2]
"""The version that a page's own registry gets."""

SHORTER = [
    (r"--tune \S+", "--tune 4"),
    (r"--(total-)?trials \d+", r"--\1trials 4"),
    (r"\btrials=\d+", "trials=4, confirm=False"),
    (r"\b224\b", "32"),
    (r"\[32, 64, 128, 128\]", "[16, 16]"),
    (r"^(tophub (?:bench|gain) .*)$", r"\1 --rounds 1"),
    (r"^(tophub tune .*)-o (?!mine)", r"\1--no-confirm -o "),
    (r"https://host/tophub cuda@v0.10 llvm@v0.04", f"http://127.0.0.1:8000 llvm@{_NEXT}"),
    (r"\bHOST\b", "127.0.0.1"),
]
"""Four trials, one round, three layers, small images, this machine; the tutorial alone compares in the whole model."""

MAY_REFUSE = {"--prove": "", "replay": " claimed, "}
"""Words of commands that end with 1 where a measurement says so, as on a busy machine; and what they then say."""

_LONG = {"bench", "compile", "tune"}

_made: dict[tuple[str, str | None], list[Path]] = {}
"""What the long commands so far made, by command and location: they are not run again for the same model."""


def run_page(page: Path, folder: Path, home: Path) -> None:
    """Run a page's blocks in order, in its folder."""
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(ENVIRONMENT, HOME=str(home))
    names: dict[str, Any] = {"__name__": "__main__"}
    ports = {"8000": str(_free_port()), "9190": str(_free_port(range(9190, 9199)))}  # TVM's tracker takes no others
    with contextlib.ExitStack() as servers:
        for block in blocks_of(page):
            if block.runs:
                try:
                    _run(block, names, ports, servers)
                except BaseException as error:
                    raise RuntimeError(f"{block.page}:{block.line}") from error


def _run(block: Block, names: dict[str, Any], ports: Mapping[str, str], servers: contextlib.ExitStack) -> None:
    if block.language == "python":
        code = compile(_adapted(block.code, ports), block.page, "exec")
        with _told():
            exec(code, names)  # noqa: S102  # the documentation's example
        return
    for line in commands(block.code):
        command = _adapted(line, ports)
        words = [each for word in shlex.split(command) for each in _expanded(word)]
        if words[0] == "export":
            name, _, value = words[1].partition("=")
            os.environ[name] = value
        elif words[-1] == "&":
            servers.enter_context(_server(words[:-1], command))
        elif words[0] == "tophub" and "-completion" not in command:
            key = command, os.environ.get("TOPHUB_LOCATION")
            if key in _made:
                for path in _made[key]:
                    shutil.copy(path, path.name)
                continue
            before = {path: path.stat().st_mtime_ns for path in Path.cwd().iterdir()}
            _tophub(words[1:])
            if words[1] in _LONG:
                made = (path for path in Path.cwd().iterdir() if before.get(path) != path.stat().st_mtime_ns)
                _made[key] = [path for path in made if path.is_file()]
        else:
            # Followed by another command, it has the shell for its parent, which completion asks for.
            done = subprocess.run(
                ["bash", "-c", f"{command} || exit 1; true"], capture_output=True, text=True, check=False
            )
            assert done.returncode == 0, f"{command}\n{done.stderr}"


def _expanded(word: str) -> list[str]:
    """Return the files that a pattern means, as the shell does."""
    return (sorted(map(str, Path().glob(word))) if "*" in word else []) or [word]


def _adapted(text: str, ports: Mapping[str, str]) -> str:
    for pattern, shorter in SHORTER:
        text = re.sub(pattern, shorter, text)
    for number, port in ports.items():
        text = text.replace(number, port)
    return text


def _tophub(words: list[str]) -> None:
    file = None
    if ">" in words:
        words, file = words[: words.index(">")], Path(words[-1])
    code: object = 0
    environment = dict(os.environ)
    with _told() as told:
        try:
            main(words)
        except SystemExit as ended:
            code = ended.code
        finally:
            os.environ.clear()
            os.environ.update(environment)
    if code and not (code == 1 and any(word in words and said in told.getvalue() for word, said in MAY_REFUSE.items())):
        raise AssertionError(f"tophub {shlex.join(words)} ended with {code}:\n{told.getvalue()}")
    if file is not None:
        file.write_text(told.getvalue())


@contextlib.contextmanager
def _told() -> Iterator[io.StringIO]:
    """Keep what is printed."""
    told = io.StringIO()
    with contextlib.redirect_stdout(told), contextlib.redirect_stderr(told):
        yield told


@contextlib.contextmanager
def _server(words: list[str], command: str) -> Iterator[None]:
    """Run a server, once it is ready."""
    with subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            for _ in range(600):
                with contextlib.suppress(OSError):
                    if _is_ready(command):
                        break
                time.sleep(0.05)
            yield
        finally:
            process.terminate()


def _is_ready(command: str) -> bool:
    """Whether a server listens at the port that its command names, or a tracker knows it."""
    if (found := re.search(r"--tracker (\S+):(\d+) --key (\w+)", command)) is not None:
        from tvm import rpc

        waiting = rpc.connect_tracker(found[1], int(found[2])).summary()["queue_info"]
        return bool(waiting.get(found[3], {}).get("free"))
    found = re.search(r"(?:http\.server .*?|--port )(\d+)", command)
    assert found is not None, command
    socket.create_connection(("127.0.0.1", int(found[1])), 1).close()
    return True


def _free_port(wanted: Iterable[int] = (0,)) -> int:
    for port in wanted:
        with socket.socket() as free, contextlib.suppress(OSError):
            free.bind(("127.0.0.1", port))
            return int(free.getsockname()[1])
    raise OSError("no port is free")


def _run_all(top: Path, names: Collection[str]) -> None:
    (top / "home").mkdir()
    tutorial = next(page for page in PAGES if page.name == "tutorial.md")
    for page in [tutorial, *(each for each in PAGES if each != tutorial and each.name in names)]:
        folder, error, started = top / page.stem, "", time.monotonic()
        try:
            folder.mkdir()
            for name in STARTS_WITH.get(page.name, ()):
                if name == "trials.log":
                    write_log(folder / name, taught())
                else:
                    shutil.copy(top / "tutorial" / name.replace("new.log", "mine.log"), folder / name)
            for name in LINKED.get(page.name, ()):
                (folder / name).symlink_to(ROOT / name)
            run_page(page, folder, top / "home")
        except BaseException:  # noqa: BLE001  # an example may end the program
            error = traceback.format_exc()
        seconds = round(time.monotonic() - started, 1)
        sys.stdout.write(json.dumps({"page": page.name, "error": error, "seconds": seconds}) + "\n")
        sys.stdout.flush()


ENVIRONMENT = {key: value for key, value in os.environ.items() if not key.startswith(("TOPHUB_", "TVM_", "OMP_"))}
ENVIRONMENT["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), ENVIRONMENT["PATH"]])

if __name__ == "__main__":
    _run_all(Path(sys.argv[1]).resolve(), sys.argv[2:])
