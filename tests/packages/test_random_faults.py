"""Fetches under random faults: of a request, of the disk, of the process.

For each request each kind of fault is drawn with probability 0.2, and one of those drawn takes place, so that five in
six requests fail. Never a wrong byte in the root, never a temporary file left after the next run, and success whenever
a good mirror exists, at the latest in the next run if the disk was full or the process killed. 1,000 fetches with
`--exhaustive`; `-s` shows how many of each kind there were.
"""

import json
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from contextlib import ExitStack

import pytest

from tests.registries import body, file_of, ranged, reset, served, write_rows
from tests.signed import SignedRegistry, key
from tophub_registry.packages.folder import read_index
from tophub_registry.packages.index import INDEX_FILE
from tophub_registry.packages.location import Web
from tophub_registry.packages.root import Root
from tophub_registry.packages.version import Reference
from tophub_registry.publishing import roles
from tophub_registry.publishing.release import release

PROBABILITY = 0.2

FETCHES = """
import json, os, signal, sys
from pathlib import Path
import requests, urllib3
from tophub_registry import files
from tophub_registry.errors import TophubError
from tophub_registry.packages import download, location, patience
from tophub_registry.packages.fetch import fetch
from tophub_registry.packages.location import Web
from tophub_registry.packages.root import Root
from tophub_registry.packages.version import Reference

files._YOUNG, files._WORTH_KEEPING, download._PROGRESS = 0, 20_000, 10_000
location.TOTAL_TIMEOUT, location.READ_TIMEOUT, patience.PAUSE = 5.0, 0.15, 0.002

steps = 0

def step():
    "Counts what changes files, to be killed there."
    global steps
    steps += 1
    if steps == job["kill"]:
        os.kill(os.getpid(), signal.SIGKILL)

def hook(event, arguments):
    if event in ("os.rename", "os.link", "os.remove", "os.mkdir", "os.utime") or (
        event == "open" and isinstance(arguments[2], int) and arguments[2] & (os.O_CREAT | os.O_RDWR | os.O_WRONLY)
    ):
        step()

plain, written = files._Raw.write, 0

def write(raw, data):
    global written
    step()
    written += len(data)
    if job["full"] is not None and written > job["full"]:
        full = os.open("/dev/full", os.O_WRONLY)
        os.dup2(full, raw.fileno())
        os.close(full)
    return plain(raw, data)

def run():
    files._Raw.write = write
    sys.addaudithook(hook)
    place = Web(job["location"], mirrors=tuple(map(Web, job["mirrors"])))
    try:
        done = fetch([Reference.parse(text) for text in job["packages"]], place, Root(Path(job["root"])))
    except TophubError as error:
        print(json.dumps({"error": str(error)}), flush=True)
        return error.exit_code
    print(json.dumps({"files": [str(each.path) for each in done.packages],
                      "notices": [notice.rule for notice in done.notices]}), flush=True)
    return 0

print("ready", flush=True)
for line in iter(sys.stdin.readline, ""):
    job = json.loads(line)
    child = os.fork()
    if child == 0:
        code = 99
        try:
            code = run()
        finally:
            os._exit(code)
    print(json.dumps({"code": os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])}), flush=True)
"""


def truncated(request):
    return ranged(request, most=random.randrange(file_of(request).stat().st_size))


def cut_off(request):
    data = file_of(request).read_bytes()
    return body(request, data[: random.randrange(len(data))])


def stalled(request):
    data = file_of(request).read_bytes()
    body(request, data[: random.randrange(len(data))], length=len(data))
    request.wfile.flush()
    time.sleep(0.4)
    return True


def wrong_bytes(request):
    data = bytearray(file_of(request).read_bytes())
    if file_of(request).name == INDEX_FILE:  # one that can be read is for signatures to tell
        return body(request, bytes(data)[::-1])
    for _ in range(random.choice([1, 100])):
        data[random.randrange(len(data))] ^= 1 << random.randrange(8)
    most = random.randrange(len(data)) if random.random() < 0.5 else len(data)
    return body(request, bytes(data[:most]), length=len(data))


def wrong_length(request):
    return body(request, file_of(request).read_bytes() + b"{" * random.choice([1, 1000]))


def endless(request):
    request.send_response(200)
    request.end_headers()
    request.wfile.write(file_of(request).read_bytes())
    for _ in range(10_000):
        request.wfile.write(b"x" * 65536)
    return True


def failing(request):
    request.send_error(random.choice([500, 502, 503, 429, 404, 403]))
    return True


FAULTS = {
    "500": failing,
    "reset": reset,
    "truncated": truncated,
    "cut off": cut_off,
    "stalled": stalled,
    "wrong bytes": wrong_bytes,
    "wrong length": wrong_length,
    "endless": endless,
}


@pytest.fixture
def registry(tmp_path):
    folder = tmp_path / "registry"
    for number in range(3):
        for package, fields in (("llvm", {}), ("cuda", {"target": "cuda -model=h100"})):
            log = write_rows(tmp_path / f"{package}.log", 100 + 250 * number, **fields)
            (tmp_path / "model.json").write_text(json.dumps({"model": [number] * 5000}))
            release(package, log, folder, model=tmp_path / "model.json" if package == "cuda" else None)
    return folder


@pytest.fixture
def signed(registry, tmp_path):
    """Return the same registry, signed: a device's owner has signed the last version of its packages."""
    signed = SignedRegistry(registry, tmp_path / "logs")
    signed.start()
    roles.delegate(registry, "cuda", [key("owner").public_key], models=["h100"])
    signed.release("cuda@v0.04", 100, sign=False, target="cuda -model=h100")
    signed.sign("ann", "bob", "owner", "online")
    return signed


class Storm:
    """A root, the servers that it is filled from, and the process that starts the fetches.

    Attributes
    ----------
    met
        How often there was each fault, and each outcome.
    calm
        Whether there are no faults just now.
    """

    def __init__(self, registry, root, stack):
        self.root, self.met, self.damaged = Root(root), Counter(), {}
        self.calm = False
        self.published = {path.name: path.read_bytes() for path in registry.glob("*_v*")}
        self.index = read_index(registry)
        self.names = [f"{name}@{version}" for name in self.index.packages for version in self.index.versions(name)]
        self.first, self.second = (stack.enter_context(served(registry, self.faulty)).url for _ in range(2))
        self.good = stack.enter_context(served(registry, ranged)).url
        self.root.follow(Web(self.first), self.index)
        command = [sys.executable, "-c", FETCHES]
        self.fetches = stack.enter_context(
            subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        )
        stack.callback(self.fetches.kill)
        assert self.fetches.stdout.readline() == "ready\n"

    def faulty(self, request):
        drawn = [] if self.calm else [name for name in FAULTS if random.random() < PROBABILITY]
        if not drawn:
            return ranged(request, tag=random.choice([None, '"tag"']))
        name = random.choice(drawn)
        self.met[name] += 1
        return FAULTS[name](request)

    def fetch(self, packages, mirrors, **faults):
        """Fetch in a process of its own, and look at all files; return its answer."""
        job = {"location": self.first, "mirrors": mirrors, "packages": packages, "root": str(self.root.path)}
        self.fetches.stdin.write(json.dumps({"kill": None, "full": None, **job, **faults}) + "\n")
        self.fetches.stdin.flush()
        answer = {}
        while "code" not in answer:
            answer |= json.loads(self.fetches.stdout.readline())
        return {**answer, "whole": self.whole()}

    def whole(self):
        """Return the names of all whole files; there are no others, but for those that were damaged here."""
        whole = set()
        for path in self.root.path.rglob("*_v*"):
            if path.name[0] != "." and path.is_file():
                data = path.read_bytes()
                if data == self.published[path.name]:
                    whole.add(path.name)
                else:
                    assert data == self.damaged.get(path.name), path
        return whole

    def disturb(self):
        """Delete some files, and damage one now and then."""
        for name in self.published:
            if random.random() < 0.4:
                (self.root.path / name).unlink(missing_ok=True)
                self.damaged.pop(name, None)
        if random.random() < PROBABILITY:
            name = random.choice([name for name in self.published if name.endswith(".log")])
            self.damaged[name] = self.published[name][: random.randrange(len(self.published[name]))] + b"{"
            (self.root.path / name).write_bytes(self.damaged[name])

    def once(self):
        """Fetch some packages under faults; then again, without those of the process, if a good mirror exists."""
        self.disturb()
        packages = random.sample(self.names, random.randint(1, 3))
        helped = random.random() < 0.6
        mirrors = [self.second] * (random.random() < 0.5) + [self.good] * helped
        faults = {}
        if random.random() < PROBABILITY:
            faults["kill"] = random.randint(1, 30)
        if random.random() < PROBABILITY:
            faults["full"] = random.randrange(300_000)
        done = self.fetch(packages, mirrors, **faults)
        assert done["code"] in (0, 3, -signal.SIGKILL), done
        self.met[{0: "succeeded", 3: "failed"}.get(done["code"], "killed")] += 1
        self.met["disk full"] += "No space left" in done.get("error", "")
        self.met["good mirror"] += helped
        if helped and faults:
            done = self.fetch(packages, mirrors)
        if helped:
            assert done["code"] == 0, done
            assert "no-model" not in done["notices"]
        if done["code"] == 0:
            self.check_fetched(packages, done)

    def check_fetched(self, packages, done):
        assert {path.rpartition("/")[2] for path in done["files"]} <= done["whole"]
        left = [path.name for path in self.root.path.rglob(".*.part*")]
        assert not [name for name in left if name.endswith(".part")], left
        for reference in map(Reference.parse, packages):
            file = self.index.versions(reference.package)[reference.version].file
            assert not [name for name in left if name.startswith(f".{file}.")], left


@pytest.mark.slow
def test_fetches_under_random_faults(registry, tmp_path, exhaustive):
    rounds = 1000 if exhaustive else 60
    random.seed(18)
    with ExitStack() as stack:
        storm = Storm(registry, tmp_path / "root", stack)
        for _ in range(rounds):
            storm.once()
        done = storm.fetch(storm.names, [storm.good])
        assert (done["code"], done["whole"]) == (0, set(storm.published))
        assert not list(storm.root.path.rglob("*.part*"))
    sys.stdout.write(f"{rounds} fetches: {dict(sorted(storm.met.items()))}\n")
    for name in FAULTS:
        assert storm.met[name] > rounds // 10, name


@pytest.mark.slow
def test_fetches_of_a_signed_registry_under_random_faults(signed, tmp_path, exhaustive):
    """So too where signatures are verified: metadata comes from the mirrors as files do."""
    rounds = 1000 if exhaustive else 15
    random.seed(18)
    with ExitStack() as stack:
        storm = Storm(signed.path, tmp_path / "root", stack)
        storm.calm = True
        assert storm.fetch([], [])["code"] == 0
        storm.calm = False
        for number in range(rounds):
            if number % 5 == 0:
                signed.refresh()
            storm.once()
        storm.calm = True
        done = storm.fetch(storm.names, [])
        assert (done["code"], done["whole"]) == (0, set(storm.published))
        assert {*done["notices"]} <= {"damaged", "offline"}
        assert not list(storm.root.path.rglob("*.part*"))
    sys.stdout.write(f"{rounds} fetches: {dict(sorted(storm.met.items()))}\n")
    assert storm.met["succeeded"]
