"""An AutoTVM client that has never heard of this project uses our package: the promise of compatibility, kept.

The client is hhb-tvm's: its own `tophub.py` downloads the package over HTTP, its own AutoTVM parses the rows and
looks configs up in them, its own Relay builds the network with them. It takes any record that it finds for its kind of
target, so what is there to be found must not harm a processor of either family: `benchmarks/old_client.py` times it.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.registries import served
from tophub_registry.devices.processor import processor
from tophub_registry.records.families import family_of
from tophub_registry.records.log import read_records
from tophub_registry.records.target import Target

REGISTRY = Path(__file__).parents[2] / "registry_data"
MODEL, SHAPE = "resnet18_v1", "1,3,224,224"

HERE = f"llvm -mtriple=x86_64-linux-gnu -mcpu={processor()}"
TARGETS = {
    "native": HERE,
    "AVX2": "llvm -mtriple=x86_64-linux-gnu -mcpu=x86-64-v3",
    "native, asking for its family": f"{HERE} -keys={family_of(Target.parse(HERE))},cpu",
}

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def package():
    """The newest llvm package that this repository publishes."""
    return max(REGISTRY.glob("llvm_v*.log"))


@pytest.fixture(
    scope="module", params=[pytest.param(each, marks=[pytest.mark.exhaustive] * (each == "native")) for each in TARGETS]
)
def name(request):
    return request.param


@pytest.fixture(scope="module")
def built(name, old_client, package, tmp_path_factory):
    """What the old client said, what it asked our server for, and its home folder afterwards."""
    home = tmp_path_factory.mktemp("home")
    with served(REGISTRY) as server:
        version = package.stem.removeprefix("llvm_")
        arguments = (MODEL, SHAPE, version, 1, TARGETS[name])
        report = old_client.run("build_with_tophub", *arguments, home=home, location=server.url, timeout=600)
    return report, server.paths, home


@pytest.mark.slow
def test_it_downloads_the_package_by_itself(built, package):
    _, asked, home = built
    assert asked == [f"/{package.name}"]
    assert (home / ".tvm" / "tophub" / package.name).read_bytes() == package.read_bytes()


def test_what_is_safe_for_every_processor_is_found_and_the_rest_by_who_asks_for_it(built, name, package):
    """A client that asks for AVX-512's records gets one for every layer."""
    queries = built[0]["queries"]
    assert {query["task"] for query in queries} == {"conv2d_NCHWc.x86", "dense_nopack.x86", "dense_pack.x86"}
    answered = {query["task"] for query in queries if not query["fallback"]}
    assert {"dense_nopack.x86", "dense_pack.x86"} <= answered
    families = {family_of(record.target) for record in read_records(package)}
    asks = name.endswith("family") and family_of(Target.parse(HERE)) in families
    assert ("conv2d_NCHWc.x86" in answered) == asks
    if asks and family_of(Target.parse(HERE)) == "x86-64-v4":
        assert [query for query in queries if query["fallback"]] == []


def test_the_result_is_mxnets(built):
    report = built[0]
    assert report["difference_tuned"] < 1e-5 * max(1.0, report["scale"])
    assert report["difference_untuned"] < 1e-5 * max(1.0, report["scale"])
