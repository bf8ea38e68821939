"""How long `tophub fetch` takes on a warm cache from a signed registry, as a multiple of an unsigned one's time.

python benchmarks/fetch.py [--before CHECKOUT]    medians of runs in turns; with --before also of another version's code

The registries have the same packages and are served on loopback, by a server that counts requests.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING

from tophub_registry.publishing import keys, roles, signing

if TYPE_CHECKING:
    from collections.abc import Iterator

ROUNDS = 15
HERE = Path(__file__).resolve().parents[1]
AIM = 1.5


class _Counting(SimpleHTTPRequestHandler):
    """Serves a folder, and counts requests by the folder's name."""

    protocol_version = "HTTP/1.1"

    def __init__(self, *arguments: object, requests: list[str], **options: object) -> None:
        self._requests = requests
        super().__init__(*arguments, **options)  # type: ignore[arg-type]

    def do_GET(self) -> None:
        """Answer as any static server does, with 304 where nothing has changed."""
        self._requests.append(self.path)
        super().do_GET()

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@contextmanager
def served(folder: Path, requests: list[str]) -> Iterator[str]:
    """Serve a folder on loopback."""
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(_Counting, directory=str(folder), requests=requests)) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()


def make_registries(folder: Path) -> None:
    """Make the two registries, of this repository's own packages."""
    shutil.copytree(HERE / "registry_data", folder / "unsigned")
    shutil.copytree(HERE / "registry_data", folder / "signed")
    signers = []
    for name in ("ann", "bob", "online"):
        keys.make_keys(folder / name, None)
        signers.append(keys.read_signer(folder / f"{name}.pem", lambda _: b""))
    ann, bob, online = (signer.public_key for signer in signers)
    roles.start(folder / "signed", roles.FirstKeys([ann, bob], [ann, bob], [online]))
    signing.sign(folder / "signed", signers)
    for path in (*folder.rglob("index.json"), *folder.rglob("timestamp.json")):
        os.utime(path, (time.time() - 3600, time.time() - 3600))  # as in a registry that is served for a while


def main() -> None:
    """Print the medians, their ratios, and the requests of a run."""
    parser = argparse.ArgumentParser(description="Time `tophub fetch` on a warm cache.")
    parser.add_argument("--before", type=Path, help="a checkout of another version to compare with")
    before = parser.parse_args().before
    with tempfile.TemporaryDirectory(prefix="tophub-bench-") as scratch:
        folder, requests = Path(scratch), []
        make_registries(folder)
        with served(folder, requests) as url:
            runs = {"unsigned": (HERE, "unsigned"), "signed": (HERE, "signed")}
            if before is not None:
                runs["before, unsigned"] = (before.resolve(), "unsigned")
            times: dict[str, list[float]] = {name: [] for name in runs}
            counts: dict[str, int] = {}
            for _ in range(ROUNDS + 1):  # the first one fills the cache
                for name, (code, registry) in runs.items():
                    del requests[:]
                    environment = {**os.environ, "PYTHONPATH": str(code), "HOME": str(folder / name)}
                    command = [sys.executable, "-m", "tophub_registry.cli", "fetch", "--location", f"{url}/{registry}"]
                    start = time.perf_counter()
                    subprocess.run(command, check=True, capture_output=True, env=environment)
                    times[name].append(time.perf_counter() - start)
                    counts[name] = len(requests)
    medians = {name: statistics.median(values[1:]) for name, values in times.items()}
    for name, median in medians.items():
        print(f"{name:17} {median * 1e3:7.1f} ms  {counts[name]} request(s)")
    for name in medians.keys() - {"signed"}:
        print(f"signed / {name:17} {medians['signed'] / medians[name]:5.2f}  (aim: at most {AIM})")


if __name__ == "__main__":
    main()
