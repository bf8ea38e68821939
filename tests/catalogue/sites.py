"""A registry with all that a catalogue may meet, and its site."""

from __future__ import annotations

import hashlib
import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

from tests.records.rows import MEASURED, row, text
from tests.registries import OLD_ROW
from tophub_registry.packages.version import Reference
from tophub_registry.publishing.release import release
from tophub_registry.publishing.yank import yank

HOSTILE = "</script><script>document.title = 'bad'</script><img src=x onerror=\"document.title = 'bad'\">"

ROOT = Path(__file__).parents[2]

SAID = {"device": "AMD EPYC, 2 cores", "threads": 2, "weights": "cold", "tuner": "mine", "peak_gflops": 500.0}


def make_registry(folder: Path) -> Path:
    """Make a registry: llvm v0.01 to v0.04, of which v0.03 has lost its file, and cuda v0.01, which is yanked."""
    registry = folder / "registry"
    versions = [
        [(64, 2e-4), (128, 4e-4)],
        [(64, 1e-4), (128, 4e-4), (512, 9e-4)],
        [(64, 1e-4), (512, 9e-4)],
        [(64, 1e-4), (128, 5e-4), (512, 8e-4), (1512, 2e-3)],
    ]
    for number, rows in enumerate(versions, 1):
        log = folder / f"llvm_v0.{number:02}.log"
        lines = [text(channels=c, costs=[cost, cost], timestamp=MEASURED, tophub=SAID) for c, cost in rows]
        log.write_text("".join(f"{line}\n" for line in lines))
        release("llvm", log, registry)
    (registry / "llvm_v0.03.log").unlink()
    log = folder / "cuda_v0.01.log"
    log.write_text(text(target="cuda -model=h100", task="conv2d_nchw.cuda") + "\n")
    release("cuda", log, registry)
    yank(Reference.parse("cuda@v0.01"), "wrong device", registry)
    return registry


def hostile_registry(folder: Path) -> Path:
    """Make a registry whose only log has markup, scripts and control characters wherever text may be."""
    said = {**SAID, "device": HOSTILE, "tuner": f"{HOSTILE}\u202e", "__proto__": {"bad": HOSTILE}, HOSTILE: HOSTILE}
    bad = json.loads(text(tophub=said, target=f"llvm -mcpu='{HOSTILE.replace(chr(39), '')}'"))
    bad["input"][2][0] = ["TENSOR", [1, 64, 56, 56], f"{HOSTILE}\u202e"]
    bad["config"]["entity"] = [[HOSTILE, "ot", HOSTILE], ["__proto__", "ot", {"__proto__": HOSTILE}]]
    log = folder / "llvm_v0.01.log"
    log.write_text(f"# {HOSTILE}\n{json.dumps(bad)}\n")
    release("llvm", log, folder / "registry")
    return folder / "registry"


def odd_registry(tmp_path: Path) -> Path:
    """Make a registry whose only log has whatever a reader accepts: an index may list one that nobody examined."""
    odd = [row(channels=channels, tophub={"device": "d"}) for channels in range(1, 12)]
    odd[0]["result"] = [[5e-324], 0, 1.5, 1e300]
    odd[1]["result"] = [[1e10, 1e-300], 0, -1.5, -5.0]
    odd[2]["result"][1] = 4
    odd[3]["config"] |= {"index": -(10**4000), "entity": [["k", "ot", 10**4000], ["", "sp", []], ["n", "ot", None]]}
    odd[4]["input"][1:3] = ["unknown_task", [10**4000, 1e300, ["TENSOR"], {"a": [1.5]}]]
    odd[5]["input"][2][0] = ["TENSOR", [-1, 0], "float32"]
    odd[6]["input"][0] = "c -model=unknown"
    odd[7]["tophub"] = {"peak_gflops": 1e300, "started": 1e300, "trials": -1, "threads": 10**30}
    odd[8]["tophub"] = {"converted": {"log_version": 0.1, "task": [1]}, "device": "", "more": {"a": None}}
    odd[9]["input"][2] = []
    odd[10] |= {"tvm_version": "", "more": 1}
    data = "".join(f"{line}\n" for line in (*map(json.dumps, odd), OLD_ROW, "# comment")).encode()
    (tmp_path / "llvm_v0.01.log").write_bytes(data)
    entry = {
        "file": "llvm_v0.01.log",
        "bytes": len(data),
        "sha256": hashlib.sha256(data).hexdigest(),
        "records": 1,
        "released": "2026-01-01T00:00:00Z",
        "base": None,
        "tasks": {"a": 1},
        "targets": {"b": 1},
    }
    index = {"serial": 1, "expires": "2027-01-01T00:00:00Z", "packages": {"llvm": {"v0.01": entry}}}
    (tmp_path / "index.json").write_text(json.dumps(index))
    return tmp_path


class ReadPage(HTMLParser):
    """A page's tags, addresses, and text."""

    def __init__(self, page: Path) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.addresses: list[str] = []
        self._said: list[str] = []
        self.feed(page.read_text(encoding="utf-8"))
        self.text = re.sub(r"\s+", " ", " ".join(self._said))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.addresses += [value for name, value in attrs if name in ("src", "href") and value]

    def handle_data(self, data: str) -> None:
        self._said.append(data)


def data_of(site: Path, name: str) -> Any:
    """Return what a data file hands over."""
    script = (site / "data" / f"{name}.js").read_text(encoding="ascii")
    match = re.fullmatch(r'catalogue\("([^"]*)",(.*)\);\n', script)
    assert match
    assert match[1] == name
    return json.loads(match[2])
