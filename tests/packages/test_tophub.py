"""AutoTVM's names for TopHub."""

import json
from pathlib import Path
from urllib.request import urlopen

import pytest

from tests.registries import served, write_rows
from tophub_registry import tophub
from tophub_registry.packages.fetch import fetch
from tophub_registry.packages.location import Web
from tophub_registry.packages.release import release
from tophub_registry.packages.root import Root


@pytest.fixture
def registry(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    folder = tmp_path / "registry"
    release("llvm", write_rows(tmp_path / "llvm_v0.05.log", 1), folder)
    release("cuda", write_rows(tmp_path / "cuda_v0.11.log", 2), folder)
    monkeypatch.setenv("TOPHUB_LOCATION", str(folder))
    return folder


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


def test_the_other_names():
    assert Path("~/.tvm/tophub").expanduser() == tophub.AUTOTVM_TOPHUB_ROOT_PATH
    assert (tophub.AUTOTVM_TOPHUB_LOC_VAR, tophub.AUTOTVM_TOPHUB_NONE_LOC) == ("TOPHUB_LOCATION", "NONE")
    assert {"PACKAGE_VERSION", "AUTOTVM_TOPHUB_ROOT_PATH"} <= set(dir(tophub))
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = tophub.nothing
