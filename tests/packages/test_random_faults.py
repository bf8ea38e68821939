"""Fetches under random faults, each kind with probability 0.2: of a request, of the disk, of the process.

Never a wrong byte in the root, never a temporary file left after the next run, and success whenever a good mirror exists.
1,000 fetches with `--exhaustive`.
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
from tophub_registry.packages.folder import read_index
from tophub_registry.packages.index import INDEX_FILE
from tophub_registry.packages.location import Web
from tophub_registry.packages.root import Root
from tophub_registry.packages.version import Reference
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


@pytest.mark.slow
def test_fetches_under_random_faults(registry, tmp_path, exhaustive, monkeypatch):
    rounds = 1000 if exhaustive else 60
    random.seed(18)
    met = Counter()

    def faulty(request):
        drawn = [name for name in FAULTS if random.random() < PROBABILITY]
        if not drawn:
            return ranged(request, tag=random.choice([None, '"tag"']))
        name = random.choice(drawn)
        met[name] += 1
        return FAULTS[name](request)

    published = {path.name: path.read_bytes() for path in registry.glob("*_v*")}
    index = read_index(registry)
    names = [f"{package}@{version}" for package in index.packages for version in index.versions(package)]
    root, damaged = Root(tmp_path / "root"), {}

    def check(done):
        """Look at all files, and return which are whole."""
        whole = set()
        for path in root.path.rglob("*_v*.log"), root.path.rglob("*_v*.model.json"):
            for each in path:
                if each.name[0] != ".":
                    right = each.read_bytes() == published[each.name]
                    assert right or damaged.get(each.name) == each.read_bytes(), (each, done)
                    whole |= {each.name} if right else set()
        return whole

    with ExitStack() as stack:
        first, second = (stack.enter_context(served(registry, faulty)) for _ in range(2))
        good = stack.enter_context(served(registry, ranged))
        location = Web(first.url)
        root.follow(location, index)
        command = [sys.executable, "-c", FETCHES]
        fetches = stack.enter_context(
            subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        )
        stack.callback(fetches.kill)
        assert fetches.stdout.readline() == "ready\n"

        def ask(packages, mirrors, **faults):
            job = {"location": first.url, "mirrors": mirrors, "packages": packages, "root": str(root.path)}
            fetches.stdin.write(json.dumps({"kill": None, "full": None, **job, **faults}) + "\n")
            fetches.stdin.flush()
            answer = {}
            while "code" not in answer:
                answer |= json.loads(fetches.stdout.readline())
            return answer

        for number in range(rounds):
            for name in published:
                if random.random() < 0.4:
                    (root.path / name).unlink(missing_ok=True)
                    damaged.pop(name, None)
            if random.random() < 0.2:
                name = random.choice([name for name in published if name.endswith(".log")])
                damaged[name] = published[name][: random.randrange(len(published[name]))] + b"{"
                (root.path / name).write_bytes(damaged[name])
            packages = random.sample(names, random.randint(1, 3))
            mirrors = [second.url] if random.random() < 0.5 else []
            helped = random.random() < 0.6
            mirrors += [good.url] if helped else []
            faults = {}
            if random.random() < PROBABILITY:
                faults["kill"] = random.randint(1, 60)
            if random.random() < PROBABILITY:
                faults["full"] = random.randrange(300_000)
            done = ask(packages, mirrors, **faults)
            assert done["code"] in (0, 3, -signal.SIGKILL), (number, done)
            check(done)
            met.update([{0: "succeeded", 3: "failed", -9: "killed"}[done["code"]]])
            if helped and not faults:
                assert done["code"] == 0, (number, done)
            if done["code"] == 0:
                assert not list(root.path.rglob("*.part")), (number, done)
            if done["code"] != 0:
                met["full"] += "No space left" in done.get("error", "")
                if helped:  # the next run succeeds and cleans up
                    done = ask(packages, mirrors)
                    assert done["code"] == 0, (number, done)
            if done["code"] == 0:
                whole = check(done)
                for path in done["files"]:
                    assert path.rpartition("/")[2] in whole
                assert not list(root.path.rglob("*.part")), (number, done)
                for reference in packages:
                    file = index.versions(reference.partition("@")[0])[Reference.parse(reference).version].file
                    assert not list(root.path.rglob(f".{file}.*.partial")), (number, done)
        done = ask(names, [good.url])
        assert done["code"] == 0
        assert check(done) == set(published)
        assert not list(root.path.rglob("*.part*"))
    print(f"{rounds} fetches: {dict(sorted(met.items()))}")
    for name in FAULTS:
        assert met[name] > rounds // 10, name
