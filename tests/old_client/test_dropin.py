"""`tophub_registry.tophub` as a drop-in, with the base install in the old client's own environment."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.docs.blocks import PAGES, blocks_of
from tests.records.rows import record, row, text
from tests.registries import OLD_ROW, body, served, write_rows
from tophub_registry.devices.processor import processor
from tophub_registry.publishing.release import release
from tophub_registry.records.task import tensor

REPOSITORY = Path(__file__).parents[2]
MINE = "llvm -mcpu=znver4"
TASK = "conv2d_NCHWc.x86"

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def site(old_client, tmp_path_factory):
    """Install the wheel and what it needs beside the old client, not in it; return the folder."""
    folder = tmp_path_factory.mktemp("base_install")
    pip = ["-m", "pip", "--disable-pip-version-check", "--quiet"]
    wheel = [sys.executable, *pip, "wheel", "--no-deps", "--wheel-dir", folder, REPOSITORY]
    subprocess.run(wheel, check=True)
    install = [old_client.python, *pip, "install", "--target", folder / "site", *folder.glob("*.whl")]
    subprocess.run(install, check=True)
    return folder / "site"


@pytest.fixture(scope="module")
def dropin(old_client, site):
    """Return a function that runs the script with the base install."""

    def run(*arguments, **options):
        answer = old_client.run("dropin", *arguments, env={"PYTHONPATH": str(site)}, **options)
        return answer["answer"], answer["log"]

    return run


@pytest.fixture
def registry(tmp_path):
    """One package: 64 channels from this device and, faster, from another; of 128, 256 and 32 from others only.

    The config of 32 leaves most registers of AVX-512 idle.
    """
    log = tmp_path / "llvm_v0.05.log"
    rows = [
        text(target=MINE, channels=64, tile_ow=8, costs=[5e-4]),
        text(target="llvm -mcpu=skylake-avx512", channels=64, tile_ow=28, costs=[1e-4]),
        text(target="llvm -mcpu=skylake-avx512", channels=128, tile_ow=14, costs=[1e-4]),
        text(target="llvm -unheard-of=1 -mcpu=skylake-avx512", channels=256, tile_ow=14, costs=[1e-4]),
        text(target="llvm -mcpu=haswell", channels=32, tile_ow=4, costs=[1e-4]),
    ]
    log.write_text("".join(row + "\n" for row in rows))
    release("llvm", log, tmp_path / "registry")
    return tmp_path / "registry"


@pytest.fixture
def workloads(tmp_path):
    """Return a file with the layers of 64, 128, 32, 8 and 256 input channels."""
    path = tmp_path / "workloads.json"
    asked = [record(channels=channels).input for channels in (64, 128, 32, 8, 256)]
    path.write_text(json.dumps([[input_.task, *input_.args] for input_ in asked]))
    return path


def tiles(configs):
    """Return each config's width tile, None where there is no config."""
    return [[entity and entity[2][2][1] for entity in of_target] for of_target in configs]


@pytest.mark.slow
def test_the_names_are_theirs_and_ours_take_their_place_until_disabled(dropin, registry):
    answer, _ = dropin("names", location=str(registry))
    enabled = [
        "AUTOTVM_TOPHUB_DEFAULT_LOC",
        "AUTOTVM_TOPHUB_ROOT_PATH",
        "PACKAGE_VERSION",
        "REFERENCE_LOG_CACHE",
        "check_backend",
        "context",
        "download_package",
        "load_reference_log",
    ]
    assert answer["states"] == [enabled, enabled, [], []]
    assert answer["signatures"][0] == answer["signatures"][1]
    assert answer["version"] == {"llvm": "v0.05"}


def test_the_context_has_for_each_workload_the_nearest_record(dropin, registry, workloads, tmp_path):
    with served(registry) as server:
        targets = json.dumps([f"{MINE} -mtriple=x86_64-linux-gnu"])
        answer, log = dropin("query", targets, workloads, home=tmp_path / "home", location=server.url)
    assert answer["kind"] == "ApplyHistoryBest"
    assert answer["same"]
    assert tiles(answer["configs"]) == [[8, 14, None, None, 14]]
    assert server.paths == ["/index.json", "/llvm_v0.05.log"]
    fetched = tmp_path / "home" / ".tvm" / "tophub" / "llvm_v0.05.log"
    assert fetched.read_bytes() == (registry / "llvm_v0.05.log").read_bytes()
    assert any("{'device': 1, 'family': 2}" in line for line in log)


@pytest.mark.slow
def test_one_s_own_log_comes_first_and_does_not_hide_the_hub_s(dropin, registry, workloads, tmp_path):
    own = tmp_path / "own.log"
    rows = [
        text(target=MINE, channels=32, tile_ow=14, costs=[1.0]),
        text(target=MINE, channels=64, tile_ow=2, costs=[1.0]),  # slower, and one's own all the same
        text(target="llvm -mcpu=znver3", channels=128, tile_ow=7, costs=[1.0]),
    ]
    own.write_text("".join(row + "\n" for row in (*rows, OLD_ROW)))
    answer, _ = dropin("query", json.dumps([MINE]), workloads, own, location=str(registry))
    assert answer["same"]
    assert tiles(answer["configs"]) == [[2, 14, 14, None, 14]]
    answer, _ = dropin("query", json.dumps(["llvm -mcpu=skylake-avx512"]), workloads, own, location=str(registry))
    assert tiles(answer["configs"]) == [[28, 14, 14, None, 14]]


def test_the_target_may_have_any_form(dropin, registry, workloads):
    answer, _ = dropin("forms", MINE, workloads, location=str(registry))
    assert [tiles([configs]) for configs in answer] == [[[8, 14, None, None, 14]]] * 6


@pytest.mark.slow
def test_where_fetching_is_switched_off_only_one_s_own_log_answers(dropin, workloads, tmp_path):
    answer, _ = dropin("query", json.dumps([MINE]), workloads, location="NONE")
    assert (answer["kind"], tiles(answer["configs"])) == ("EmptyContext", [[None] * 5])
    own = tmp_path / "own.log"
    own.write_text(text(target=MINE, channels=32, tile_ow=14) + "\n")
    answer, _ = dropin("query", json.dumps([MINE]), workloads, own, location="NONE")
    assert (answer["kind"], tiles(answer["configs"])) == ("ApplyHistoryBest", [[None, None, 14, None, None]])


@pytest.mark.slow
def test_a_location_that_does_not_answer_is_noticed_and_compiling_goes_on(dropin, workloads):
    answer, log = dropin("query", json.dumps([MINE]), workloads, location="http://127.0.0.1:9")
    assert tiles(answer["configs"]) == [[None] * 5]
    assert any("is not available" in line and "127.0.0.1:9" in line for line in log)


@pytest.mark.slow
def test_what_was_fetched_once_answers_without_a_network(dropin, registry, workloads, tmp_path):
    with served(registry) as server:
        dropin("query", json.dumps([MINE]), workloads, home=tmp_path / "home", location=server.url)
    answer, log = dropin("query", json.dumps([MINE]), workloads, home=tmp_path / "home", location=server.url)
    assert tiles(answer["configs"]) == [[8, 14, None, None, 14]]
    assert any("last known index" in line for line in log)


def test_their_check_and_download_are_ours(dropin, registry, tmp_path):
    with served(registry) as server:
        answer, _ = dropin("fetching", server.url, "llvm", home=tmp_path / "home", location=server.url)
    assert answer == {"check": True, "root": str(tmp_path / "home" / ".tvm" / "tophub")}
    assert (tmp_path / "home" / ".tvm" / "tophub" / "llvm_v0.05.log").is_file()


@pytest.mark.slow
def test_attack_a_location_that_sends_other_bytes_is_not_believed(dropin, registry, tmp_path):
    def swapped(request):
        return request.path.endswith(".log") and body(request, (text(target=MINE, costs=[1e-9]) + "\n").encode())

    with served(registry, swapped) as server:
        answer, log = dropin("fetching", server.url, "llvm", home=tmp_path / "home", location=server.url)
    assert not answer["check"]
    assert "not the published file" in answer["error"]
    assert any("not the published file" in line for line in log)
    assert not list((tmp_path / "home" / ".tvm" / "tophub").glob("*.log"))


@pytest.mark.slow
@pytest.mark.parametrize("model", ["1080ti", "v100", "unheard-of"])
def test_reference_logs_are_those_that_they_would_load(dropin, upstream, tmp_path, model):
    release("cuda", upstream / "cuda_v0.08.log", tmp_path / "registry")
    (ours, theirs), _ = dropin(
        "reference", "cuda", model, "conv2d_nchw.cuda", location=(tmp_path / "registry").as_uri()
    )
    assert ours == theirs
    assert bool(ours) == (model != "v100")  # which has a record, though of another task


@pytest.mark.slow
@pytest.mark.parametrize("mine", [None, "x86-64-v3"], ids=["native", "AVX2"])
def test_a_network_is_compiled_with_the_record_of_this_processor(dropin, tmp_path, mine):
    mine = mine or processor()
    made = row(target=f"llvm -mcpu={mine}")
    made["input"][2][:2] = tensor([1, 16, 32, 32]), tensor([16, 16, 3, 3])
    made["config"]["entity"][1][2] = [-1, 8]
    log = tmp_path / "llvm_v0.05.log"
    log.write_text(json.dumps(made) + "\n")
    release("llvm", log, tmp_path / "registry")
    target = f"llvm -mcpu={mine} -mtriple=x86_64-linux-gnu"
    answer, _ = dropin("build", target, location=str(tmp_path / "registry"))
    assert set(answer["fallbacks"]) == {False, True}  # within the context, and without
    assert not answer["fallbacks"][0]
    assert answer["difference"] < 1e-3


@pytest.mark.slow
@pytest.mark.parametrize("mine", [None, "x86-64-v3"], ids=["native", "AVX2"])
def test_a_network_is_compiled_with_our_own_package(dropin, mine):
    """Whether it has a record that helps this processor or not."""
    registry = (REPOSITORY / "registry_data").as_uri()
    target = f"llvm -mcpu={mine or processor()} -mtriple=x86_64-linux-gnu"
    answer, _ = dropin("build", target, location=registry)
    assert answer["difference"] < 1e-3


def test_without_a_registry_s_index_the_error_says_so(dropin, tmp_path, workloads):
    write_rows(tmp_path / "plain" / "llvm_v0.04.log", 1)
    answer, log = dropin("query", json.dumps([MINE]), workloads, location=str(tmp_path / "plain"))
    assert tiles(answer["configs"]) == [[None] * 5]
    assert any("not a registry" in line for line in log)


EXAMPLES = [block for page in PAGES for block in blocks_of(page) if block.elsewhere and block.language == "python"]


@pytest.mark.slow
@pytest.mark.parametrize("example", EXAMPLES, ids=lambda block: f"{block.page}:{block.line}")
def test_what_the_documentation_shows_runs(old_client, site, example, tmp_path):
    """With a network, a target, and the server that the page has started."""
    folder = tmp_path / "here"
    folder.mkdir()
    write_rows(folder / "my.log", 1)
    with served(REPOSITORY / "registry_data") as server:
        code = example.code.replace("http://127.0.0.1:8000", server.url)
        (folder / "example.py").write_text(code)
        environment = {"PYTHONPATH": str(site)}
        answer = old_client.run("example", folder / "example.py", location=server.url, env=environment)
    assert answer["built"] == "GraphExecutorFactoryModule"
    assert [name.partition("_")[0] for name in answer["packages"]] == ["llvm"]
