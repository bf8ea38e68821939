"""What a registry has, and what of it is on this machine."""

import pytest

from tests.registries import served, write_rows
from tophub_registry.errors import EnvironmentFailure
from tophub_registry.packages.fetch import fetch
from tophub_registry.packages.location import Folder, Web
from tophub_registry.packages.overview import survey
from tophub_registry.packages.root import Root
from tophub_registry.publishing.release import release


@pytest.fixture
def registry(tmp_path):
    folder = tmp_path / "registry"
    for package in ("cuda", "llvm", "mali", "rocm"):
        release(package, write_rows(tmp_path / f"{package}.log", 2), folder)
    return folder


@pytest.fixture
def root(tmp_path):
    return Root(tmp_path / "root")


def states(seen):
    return {package.package: package.state for package in seen.packages}


def unlisted(seen):
    return [file.path.name for file in seen.unlisted]


def test_each_package_is_cached_outdated_damaged_or_missing(registry, root, tmp_path):
    assert states(survey(Folder(registry), root)) == dict.fromkeys(("cuda", "llvm", "mali", "rocm"), "missing")
    fetch([], Folder(registry), root)
    assert set(states(survey(Folder(registry), root)).values()) == {"cached"}

    release("llvm", write_rows(tmp_path / "llvm.log", 3), registry)
    root.path.joinpath("mali_v0.01.log").write_text("something else")
    root.path.joinpath("rocm_v0.01.log").unlink()
    seen = survey(Folder(registry), root)
    assert states(seen) == {"cuda": "cached", "llvm": "outdated", "mali": "damaged", "rocm": "missing"}
    llvm = seen.packages[1]
    assert [(str(each.version), each.state) for each in llvm.versions] == [("v0.01", "cached"), ("v0.02", "missing")]
    assert str(llvm.newest.version) == "v0.02"


def test_files_that_the_registry_does_not_know_are_named(registry, root):
    fetch([], Folder(registry), root)
    write_rows(root.path / "cuda_v0.10.log", 1)
    write_rows(root.path / "mine.log", 1)
    assert unlisted(survey(Folder(registry), root)) == ["cuda_v0.10.log", "mine.log"]


def test_without_a_network_what_the_location_answered_last_is_listed(registry, root):
    with served(registry) as server:
        location = Web(server.url)
        fetch([], location, root)
    seen = survey(location, root)
    assert set(states(seen).values()) == {"cached"}
    assert [notice.rule for notice in seen.notices] == ["offline"]


def test_a_location_that_never_answered_is_an_error(root):
    with pytest.raises(EnvironmentFailure, match="does not respond"):
        survey(Web("http://127.0.0.1:1"), root)


def test_listing_notices_a_rollback_too(registry, root):
    survey(Folder(registry), root)
    (registry / "index.json").unlink()
    release("tpu", write_rows(registry / "tpu_v0.01.log", 1), registry)
    with pytest.raises(EnvironmentFailure, match="went back"):
        survey(Folder(registry), root)


def test_the_location_none_lists_the_files_of_this_machine(root):
    assert unlisted(survey(None, root)) == []
    write_rows(root.path / "cuda_v0.10.log", 1)
    seen = survey(None, root)
    assert unlisted(seen) == ["cuda_v0.10.log"]
    assert seen.packages == ()
