"""What this machine has of packages, and which log a name stands for."""

import gzip
from pathlib import Path

import pytest

from tests.registries import served, write_rows
from tophub_registry.errors import InputError, UsageError
from tophub_registry.packages.fetch import fetch
from tophub_registry.packages.here import find_log, packages_here
from tophub_registry.packages.location import Folder, Web
from tophub_registry.packages.root import Root
from tophub_registry.packages.version import Reference
from tophub_registry.publishing.release import release
from tophub_registry.publishing.yank import yank
from tophub_registry.records.target import Target

CUDA = Target.parse("cuda -model=h100")
NOBODY = Web("http://127.0.0.1:9")
"""Nobody answers there, and nobody is asked."""


@pytest.fixture
def root(tmp_path):
    return Root(tmp_path / "root")


@pytest.fixture
def registry(tmp_path):
    for rows in (1, 2, 3):
        release("cuda", write_rows(tmp_path / f"{rows}" / "cuda.log", rows), tmp_path / "registry")
    return tmp_path / "registry"


def test_a_target_s_newest_log_is_found_without_a_network(root):
    for name in ("cuda_v0.09.log", "cuda_v0.10.log", "llvm_v0.11.log"):
        write_rows(root.path / name, 1)
    (root.path / "cuda_v0.10.log.part").touch()
    assert packages_here(CUDA, NOBODY, root) == [root.path / "cuda_v0.10.log"]
    assert packages_here(Target.parse("opencl"), NOBODY, root) == []


def test_a_yanked_version_is_passed_over(registry, root):
    yank(Reference.parse("cuda@v0.03"), "wrong device", registry)
    assert packages_here(CUDA, Folder(registry), root) == [registry / "cuda_v0.02.log"]


def test_a_version_that_its_own_registry_yanked_is_passed_over_whatever_the_location(registry, root):
    fetch([Reference.parse("cuda@v0.02"), Reference.parse("cuda@v0.03")], Folder(registry), root)
    yank(Reference.parse("cuda@v0.03"), "wrong device", registry)
    fetch([], Folder(registry), root)  # which tells the root
    for location in (None, NOBODY, Folder(registry)):
        assert find_log(Path("cuda"), root, lambda: location).name == "cuda_v0.02.log"  # noqa: B023
    assert find_log(Path("cuda@v0.03"), root, lambda: None) == root.path / "cuda_v0.03.log", "asked for by number"


def test_the_same_bytes_in_root_and_location_count_once_and_others_with_the_same_number_too(registry, root):
    fetch([], Folder(registry), root)
    assert packages_here(CUDA, Folder(registry), root) == [registry / "cuda_v0.03.log"]
    write_rows(root.path / "cuda_v0.03.log", 9)
    assert packages_here(CUDA, Folder(registry), root) == [registry / "cuda_v0.03.log", root.path / "cuda_v0.03.log"]


def test_a_path_that_exists_comes_first(registry, root, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = write_rows(tmp_path / "cuda", 1).relative_to(tmp_path)
    assert find_log(path, root, lambda: Folder(registry)) == path
    packed = tmp_path / "new.log.gz"
    packed.write_bytes(gzip.compress(path.read_bytes()))
    assert find_log(packed, root, lambda: None) == packed


def test_a_package_s_name_is_its_newest_log_here(registry, root, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "cuda").mkdir()  # a folder is no log
    cuda = Path("cuda")
    assert find_log(cuda, root, lambda: Folder(registry)) == registry / "cuda_v0.03.log"
    write_rows(root.path / "cuda_v0.04.log", 7)
    assert find_log(cuda, root, lambda: Folder(registry)) == registry / "cuda_v0.03.log", "as for whoever compiles"
    assert find_log(cuda, root, lambda: NOBODY) == root.path / "cuda_v0.04.log"
    write_rows(root.path / "cuda_v0.03.log", 7)
    (root.path / "cuda_v0.04.log").write_text("damaged")
    assert find_log(cuda, root, lambda: Folder(registry)) == registry / "cuda_v0.03.log", "the location's"


def test_a_package_s_name_is_the_newest_that_the_location_in_use_has_published(root, tmp_path):
    release("cuda", write_rows(tmp_path / "cuda_v0.01.log", 4), tmp_path / "mine")
    write_rows(root.path / "cuda_v0.05.log", 5)
    with served(tmp_path / "mine") as server:
        fetched = fetch([Reference.parse("cuda")], Web(server.url), root).packages[0].path
    assert find_log(Path("cuda"), root, lambda: Web(server.url)) == fetched
    assert find_log(Path("cuda"), root, lambda: None) == root.path / "cuda_v0.05.log"


def test_a_version_is_that_one_yanked_or_not(registry, root):
    yank(Reference.parse("cuda@v0.02"), "wrong device", registry)
    assert find_log(Path("cuda@v0.02"), root, lambda: Folder(registry)) == registry / "cuda_v0.02.log"
    fetch([Reference.parse("cuda@v0.01")], Folder(registry), root)
    assert find_log(Path("cuda@v0.01"), root, lambda: None) == root.path / "cuda_v0.01.log"


@pytest.mark.parametrize(
    ("name", "message", "remedy"),
    [
        ("rocm", "no such package on this machine", "run `tophub fetch rocm`"),
        ("cuda@v0.09", "no such package on this machine", "run `tophub fetch cuda@v0.09`"),
        ("cuda.log", "no such file", None),
        ("logs/cuda", "no such file", None),
        ("..", "this is a folder", None),
    ],
)
def test_what_is_not_here_is_one_error_with_the_way_out(registry, root, name, message, remedy):
    with pytest.raises(InputError, match=message) as caught:
        find_log(Path(name), root, lambda: Folder(registry))
    assert (caught.value.file, caught.value.remedy) == (name, remedy)
    with pytest.raises(UsageError, match="not a version"):
        find_log(Path("cuda@7"), root, lambda: Folder(registry))
