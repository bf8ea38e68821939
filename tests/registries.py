"""Logs and registries to test with, and real servers on loopback, well-behaved and otherwise."""

from __future__ import annotations

import json
import socket
import struct
import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING

from tophub_registry.packages.index import INDEX_FILE
from tophub_registry.packages.version import FileName
from tophub_registry.publishing.release import release

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

TARGET = "llvm -mcpu=znver4"

OLD_ROW = (
    '{"i": ["cuda -model=v100", "topi_nn_dense", [], {}, null, {"i": 1, "t": "direct", "c": null, "e": []}],'
    ' "r": [[0.001], 0, 1.5, 1570000000.0], "v": 0.1}'
)
"""A row of log version 0.1."""


def row(number: int, *, cost: float = 1e-4, error: int = 0, target: str = TARGET) -> str:
    """Return a row of log version 0.2; another number is another workload."""
    tensors = [["TENSOR", [1, 16 + number], "float32"], ["TENSOR", [10, 16 + number], "float32"]]
    entity = [["tile_y", "sp", [-1, 1]], ["tile_x", "sp", [-1, 5]], ["tile_k", "sp", [-1, 1]]]
    return json.dumps(
        {
            "input": [target, "dense_nopack.x86", [*tensors, None, "float32"], {}],
            "config": {"index": number, "code_hash": None, "entity": entity},
            "result": [[cost, cost * 1.01], error, 1.5, 1.7e9],
            "version": 0.2,
            "tvm_version": "0.27.0",
        }
    )


def target_of(package: str) -> str:
    """Return a target whose records belong to a package."""
    if package in ("llvm", "cuda", "rocm", "opencl"):
        return TARGET if package == "llvm" else f"{package} -model=this"
    return f"llvm -device={package}"


def write_rows(path: Path, rows: int, *, start: int = 0, **fields: object) -> Path:
    """Write a log of so many rows, of the package that the file is called after if it is."""
    name = FileName.parse(path.name)
    if name or path.stem in ("cuda", "rocm", "mali"):
        fields.setdefault("target", target_of(name.package if name else path.stem))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(row(number, **fields) + "\n" for number in range(start, start + rows)))
    return path


@dataclass
class Server:
    """A server that runs.

    Attributes
    ----------
    url
        Its address, without a slash at the end.
    paths
        What was asked for, in order.
    """

    url: str = ""
    paths: list[str] = field(default_factory=list)


Answer = "Callable[[SimpleHTTPRequestHandler], bool]"
"""Takes a request and says whether it has answered it; otherwise the folder's file is sent."""


class _Handler(SimpleHTTPRequestHandler):
    def __init__(self, *args: object, server_state: Server, answer: Answer | None, **kwargs: object) -> None:
        self.state, self.answer = server_state, answer
        super().__init__(*args, **kwargs)

    def do_GET(self) -> None:
        if self.path.startswith("/metadata/") and not file_of(self).exists():  # an unsigned registry has none
            self.send_error(404)
            return
        self.state.paths.append(self.path)
        try:
            if self.answer is None or not self.answer(self):
                super().do_GET()
        except (BrokenPipeError, ConnectionResetError):  # the client went away, or was killed
            self.close_connection = True

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def served(folder: Path, answer: Answer | None = None) -> Iterator[Server]:
    """Serve a folder over HTTP on loopback, with `answer` taking over the requests it wants to."""
    state = Server()
    handler = partial(_Handler, directory=str(folder), server_state=state, answer=answer)
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        server.daemon_threads = True
        state.url = f"http://127.0.0.1:{server.server_address[1]}"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        thread.start()
        try:
            yield state
        finally:
            server.shutdown()
            thread.join()


def body(request: SimpleHTTPRequestHandler, data: bytes, *, length: int | None = None, **headers: str) -> bool:
    """Answer 200 with these bytes; `length` is what the answer claims to have."""
    request.send_response(200)
    request.send_header("Content-Length", str(len(data) if length is None else length))
    for name, value in headers.items():
        request.send_header(name.replace("_", "-"), value)
    request.end_headers()
    request.wfile.write(data)
    request.close_connection = True
    return True


def file_of(request: SimpleHTTPRequestHandler) -> Path:
    """Return the file that a request asks for."""
    return Path(request.translate_path(request.path))


def ranged(request: SimpleHTTPRequestHandler, *, tag: str | None = None, most: int | None = None) -> bool:
    """Answer with a file, or with the part of it that is asked for.

    Parameters
    ----------
    request
        What is asked for.
    tag
        The file's ETag, which an `If-Range` must name.
    most
        Break off after so many bytes of the body.
    """
    data = file_of(request).read_bytes()
    start = 0
    if request.headers["Range"] and request.headers["If-Range"] in (None, tag):
        start = int(request.headers["Range"].removeprefix("bytes=").removesuffix("-"))
    if start >= len(data) > 0:
        request.send_response(416)
        request.send_header("Content-Length", "0")
        request.end_headers()
        return True
    request.send_response(206 if start else 200)
    request.send_header("Content-Length", str(len(data) - start))
    if start:
        request.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")
    if tag is not None:
        request.send_header("ETag", tag)
    request.end_headers()
    request.wfile.write(data[start:][:most])
    request.close_connection = True
    return True


def reset(request: SimpleHTTPRequestHandler) -> bool:
    """Reset the connection."""
    request.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    request.connection.close()
    return True


def trickling(headers: bool) -> Answer:
    """Return an answer that sends a byte now and then, of its headers or of its body."""

    def answer(request: SimpleHTTPRequestHandler) -> bool:
        request.wfile.write(b"HTTP/1.0 200 OK\r\n" if headers else b"HTTP/1.0 200 OK\r\nContent-Length: 100000\r\n\r\n")
        for _ in range(100):
            request.wfile.write(b"x")
            request.wfile.flush()
            time.sleep(0.1)
        return True

    return answer


def two_packages(folder: Path) -> Path:
    """Return a registry in this folder with two packages, of which one has a cost model."""
    registry, model = folder / "registry", folder / "a.model.json"
    model.write_bytes(b'{"a": "model"}')
    release("llvm", write_rows(folder / "llvm_v0.05.log", 3), registry, model=model)
    release("cuda", write_rows(folder / "cuda_v0.11.log", 2), registry)
    return registry


def change(registry: Path, path: Sequence[str], value: object) -> None:
    """Set one value in a registry's index, past all checks."""
    fields = json.loads((registry / INDEX_FILE).read_bytes())
    place = fields
    for step in path[:-1]:
        place = place[step]
    place[path[-1]] = value
    (registry / INDEX_FILE).write_text(json.dumps(fields))
