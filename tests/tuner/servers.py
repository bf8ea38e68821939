"""TVM's own RPC tracker and servers as processes on loopback, to be killed."""

import os
import signal
import socket
import subprocess
import sys
import time

from tophub_registry.measurement.rpc import Tracked

KEY = "test"
# Where TVM and NumPy take a while to be imported, on a busy machine.
START = 180


class Servers:
    """A tracker, and servers with one key."""

    def __init__(self, count):
        self._servers = []
        while not self._tracks():  # another process took the port meanwhile
            pass
        for _ in range(count):
            self.start()
        self.wait(count)

    def _tracks(self):
        """Start the tracker on a free port; return whether it listens there."""
        port = self._free_port()
        self.address = f"127.0.0.1:{port}"
        self.place = Tracked("127.0.0.1", port, KEY, patience=3, longest=3, session=3)
        self._tracker = self._start("rpc_tracker", "--port", port, "--port-end", port + 1)
        self._until(lambda: self._listens(port) or self._tracker.poll() is not None)
        return self._tracker.poll() is None

    def start(self):
        # A port each: two servers that search a range at once can both bind one port, and only one of them listens.
        port = self._free_port()
        options = ["--port", port, "--port-end", port + 1, "--tracker", self.address, "--key", KEY]
        self._servers.append(self._start("rpc_server", *options))

    def kill(self):
        """Kill the server that was started first, with all its processes, as if its machine lost power."""
        self._kill(self._servers.pop(0))

    def wait(self, count):
        self._until(lambda: self._all_run() and self.place.count() == count)

    def _all_run(self):
        """Start anew the servers whose port another process took meanwhile; return whether there were none."""
        ended = [server for server in self._servers if server.poll() is not None]
        for server in ended:
            self._servers.remove(server)
            self.start()
        return not ended

    @staticmethod
    def _free_port():
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            return free.getsockname()[1]

    @staticmethod
    def _start(program, *options):
        command = [sys.executable, "-m", f"tvm.exec.{program}", "--host", "127.0.0.1", *map(str, options)]
        nowhere = subprocess.DEVNULL
        return subprocess.Popen(command, stdin=nowhere, stdout=nowhere, stderr=nowhere, start_new_session=True)

    @staticmethod
    def _kill(process):
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()

    @staticmethod
    def _listens(port):
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
        except OSError:
            return False
        return True

    def _until(self, true):
        end = time.monotonic() + START
        while not true():
            if time.monotonic() > end:
                self.__exit__()
                raise AssertionError("the tracker or a server did not start")
            time.sleep(0.1)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for process in [*self._servers, self._tracker]:
            self._kill(process)
