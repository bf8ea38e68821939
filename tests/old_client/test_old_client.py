"""An AutoTVM client that has never heard of this project uses our package: the promise of compatibility, kept.

The client is hhb-tvm's: its own `tophub.py` downloads the package over HTTP, its own AutoTVM parses the rows and
looks configs up in them, its own Relay builds the network with them.
"""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.registries import served
from tophub_registry.records.log import read_records

REGISTRY = Path(__file__).parents[2] / "registry_data"
MODEL, SHAPE = "resnet18_v1", "1,3,224,224"
ROUNDS = 501


@pytest.fixture(scope="module")
def package():
    """The newest llvm package that this repository publishes."""
    files = sorted(REGISTRY.glob("llvm_v*.log"))
    if not files:
        pytest.skip(f"{REGISTRY} has no llvm package yet")
    return files[-1]


@pytest.fixture(scope="module")
def built(old_client, package, tmp_path_factory):
    """What the old client said, what it asked our server for, and its home folder afterwards."""
    home = tmp_path_factory.mktemp("home")
    with served(REGISTRY) as server:
        version = package.stem.removeprefix("llvm_")
        report = old_client.run(
            "build_with_tophub", MODEL, SHAPE, version, ROUNDS, home=home, location=server.url, timeout=600
        )
    return report, server.paths, home


pytestmark = pytest.mark.slow


def test_it_downloads_the_package_by_itself(built, package):
    _, asked, home = built
    assert asked == [f"/{package.name}"]
    assert (home / ".tvm" / "tophub" / package.name).read_bytes() == package.read_bytes()


def test_every_convolution_and_dense_layer_is_answered_from_it(built):
    queries = built[0]["queries"]
    assert {query["task"] for query in queries} == {"conv2d_NCHWc.x86", "dense_nopack.x86", "dense_pack.x86"}
    assert [query for query in queries if query["fallback"]] == []


def test_the_result_is_mxnets(built):
    report = built[0]
    assert report["difference_tuned"] < 1e-5 * max(1.0, report["scale"])
    assert report["difference_untuned"] < 1e-5 * max(1.0, report["scale"])


def test_the_network_is_faster_than_without_the_log(built, package):
    report = built[0]
    mine = dict(word.split("=") for word in report["target"].split() if "=" in word)["-mcpu"]
    if mine not in {record.target.attributes.get("mcpu") for record in read_records(package)}:
        pytest.skip(f"the package was not tuned for this processor, {mine}")
    sys.stdout.write(
        f"{report['seconds_untuned'] * 1e3:.2f} ms without the log, {report['seconds_tuned'] * 1e3:.2f} ms with it, "
        f"{report['speedup']:.3f} times as fast (median of pairs)\n"
    )
    assert report["speedup"] > 1
