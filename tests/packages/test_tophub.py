"""AutoTVM's names for TopHub."""

import json
from pathlib import Path
from urllib.request import urlopen

import pytest

from tests.registries import OLD_ROW, row, served, write_rows
from tophub_registry import tophub
from tophub_registry.errors import EnvironmentFailure, UsageError
from tophub_registry.packages.fetch import fetch
from tophub_registry.packages.follow import ask_index
from tophub_registry.packages.location import Folder, Web, builtin
from tophub_registry.packages.root import Root
from tophub_registry.packages.version import Reference
from tophub_registry.publishing.imports import import_packages
from tophub_registry.publishing.release import release


@pytest.fixture
def registry(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    folder = tmp_path / "registry"
    release("llvm", write_rows(tmp_path / "llvm_v0.05.log", 1), folder)
    release("cuda", write_rows(tmp_path / "cuda_v0.11.log", 2), folder)
    monkeypatch.setenv("TOPHUB_LOCATION", str(folder))
    return folder


@pytest.fixture
def pins():
    yield tophub.PACKAGE_VERSION.pins
    tophub.PACKAGE_VERSION.pins.clear()


def test_package_version_is_the_view_of_the_index(registry, tmp_path):
    assert tophub.PACKAGE_VERSION == {"cuda": "v0.11", "llvm": "v0.05"}
    release("llvm", write_rows(tmp_path / "new.log", 3), registry)
    assert tophub.PACKAGE_VERSION == {"cuda": "v0.11", "llvm": "v0.06"}


def test_a_yanked_version_is_not_offered(registry, tmp_path):
    release("llvm", write_rows(tmp_path / "new.log", 3), registry)
    fields = json.loads((registry / "index.json").read_bytes())
    fields["packages"]["llvm"]["v0.06"]["yanked"] = "wrong device"
    fields["packages"]["cuda"]["v0.11"]["yanked"] = "wrong device"
    (registry / "index.json").write_text(json.dumps(fields))
    assert tophub.PACKAGE_VERSION == {"llvm": "v0.05"}


@pytest.mark.usefixtures("pins")
def test_an_assigned_version_is_a_pin_until_it_is_deleted(registry):
    release("llvm", write_rows(registry.parent / "new.log", 3), registry)
    tophub.PACKAGE_VERSION["llvm"] = "v0.05"
    assert tophub.PACKAGE_VERSION == {"cuda": "v0.11", "llvm": "v0.05"}
    assert tophub.check_backend(str(registry), "llvm")
    assert [path.name for path in tophub.AUTOTVM_TOPHUB_ROOT_PATH.glob("*.log")] == ["llvm_v0.05.log"]
    del tophub.PACKAGE_VERSION["llvm"]
    assert tophub.PACKAGE_VERSION["llvm"] == "v0.06"
    for package, version in [("llvm", "0.5"), ("../llvm", "v0.05")]:
        with pytest.raises(UsageError):
            tophub.PACKAGE_VERSION[package] = version
    tophub.PACKAGE_VERSION["llvm"] = "v0.09"
    with pytest.raises(UsageError, match=r"no llvm v0\.09"):
        tophub.check_backend(str(registry), "llvm")


def test_a_location_on_the_web_is_asked_once_and_then_remembered(registry, monkeypatch):
    with served(registry) as server:
        monkeypatch.setenv("TOPHUB_LOCATION", server.url)
        assert tophub.PACKAGE_VERSION == {"cuda": "v0.11", "llvm": "v0.05"}
        fetch([], Web(server.url), Root.at())
    assert tophub.PACKAGE_VERSION == {"cuda": "v0.11", "llvm": "v0.05"}


def test_the_default_location_is_one_that_an_old_client_can_download_from(monkeypatch):
    monkeypatch.delenv("TOPHUB_LOCATION", raising=False)
    with urlopen(f"{tophub.AUTOTVM_TOPHUB_DEFAULT_LOC}/index.json") as stream:  # noqa: S310
        fields = json.load(stream)
    assert set(tophub.PACKAGE_VERSION) == set(fields["packages"])
    monkeypatch.setenv("TOPHUB_LOCATION", "NONE")
    assert set(tophub.PACKAGE_VERSION) == set(fields["packages"])


def test_a_backend_s_package_is_fetched_and_checked(registry):
    root = tophub.AUTOTVM_TOPHUB_ROOT_PATH
    with served(registry) as server:
        for _ in range(2):
            assert tophub.check_backend(server.url, "nvptx"), "which uses cuda's"
            tophub.download_package(server.url, "llvm_v0.05.log")
        assert server.paths == ["/index.json", "/cuda_v0.11.log", "/llvm_v0.05.log"]
    assert {path.name for path in root.glob("*.log")} == {"cuda_v0.11.log", "llvm_v0.05.log"}
    assert not tophub.check_backend("http://127.0.0.1:9", "cuda"), "no answer"
    held = root / f"llvm_{ask_index(builtin()).newest('llvm')}.log"
    write_rows(held, 1)
    assert [tophub.check_backend("NONE", name) for name in ("llvm", "rocm")] == [True, False], "the builtin registry's"
    held.unlink()
    assert not tophub.check_backend("NONE", "llvm")


@pytest.mark.parametrize(
    ("location", "name", "message"),
    [
        (None, "llvm_v0.5.log", "not a package file"),
        (None, "../llvm_v0.05.log", "not a package file"),
        (None, "llvm_v0.09.log", "no llvm v0.09"),
        ("NONE", "llvm_v0.05.log", "switched off"),
    ],
)
def test_what_can_not_be_downloaded(registry, location, name, message):
    with pytest.raises(UsageError, match=message):
        tophub.download_package(location or str(registry), name)
    with pytest.raises(UsageError, match="no package 'rocm'"):
        tophub.check_backend(str(registry), "rocm")


@pytest.mark.parametrize(
    "use",
    [
        lambda: tophub.context("llvm"),
        lambda: tophub.load_reference_log("cuda", "1080ti", "conv2d_nchw.cuda"),
        tophub.enable,
    ],
)
@pytest.mark.usefixtures("registry")
def test_without_autotvm_there_is_one_clear_error(use):
    with pytest.raises(EnvironmentFailure, match="no TVM with AutoTVM is installed") as caught:
        use()
    assert "0.7 to 0.19" in caught.value.remedy
    tophub.disable()


def test_the_other_names():
    assert Path("~/.tvm/tophub").expanduser() == tophub.AUTOTVM_TOPHUB_ROOT_PATH
    assert (tophub.AUTOTVM_TOPHUB_LOC_VAR, tophub.AUTOTVM_TOPHUB_NONE_LOC) == ("TOPHUB_LOCATION", "NONE")
    assert {"PACKAGE_VERSION", "AUTOTVM_TOPHUB_ROOT_PATH"} <= set(dir(tophub))
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = tophub.nothing


def test_reference_records_do_without_the_rows_that_can_not_be_converted(registry, tmp_path):
    plain = tmp_path / "plain"
    plain.mkdir()
    rows = [OLD_ROW, row(1, target="cuda -model=1080ti"), OLD_ROW, row(2, target="cuda -model=v100")]
    (plain / "cuda_v0.12.log").write_text("".join(f"{each}\n" for each in rows))
    import_packages([Reference.parse("cuda@v0.12")], Folder(plain), registry)
    found = tophub._reference_records("cuda", "1080ti", "dense_nopack.x86")
    assert [record.input.args[0][1] for record in found] == [[1, 17]]
