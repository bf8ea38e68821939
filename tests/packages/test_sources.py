"""The logs in which a target's records are looked up."""

import pytest

from tests.registries import served, write_rows
from tophub_registry.errors import EnvironmentFailure, UsageError
from tophub_registry.packages.folder import newest_here, read_index
from tophub_registry.packages.location import Folder, Web, find_location
from tophub_registry.packages.root import Root
from tophub_registry.packages.sources import find_sources
from tophub_registry.packages.version import Reference, Version
from tophub_registry.publishing.release import release
from tophub_registry.publishing.yank import yank
from tophub_registry.records.lookup import lookup_all
from tophub_registry.records.target import Target

LLVM = Target.parse("llvm -mcpu=znver4")


@pytest.fixture
def registry(tmp_path):
    for rows, name in [(1, "llvm_v0.05.log"), (2, "llvm_v0.06.log"), (1, "arm_cpu_v0.09.log"), (1, "cuda_v0.11.log")]:
        release(name.rpartition("_")[0], write_rows(tmp_path / name, rows), tmp_path / "registry")
    return tmp_path / "registry"


@pytest.fixture
def root(tmp_path):
    return Root(tmp_path / "root")


def names(sources):
    return [source.name for source in sources.logs], [notice.rule for notice in sources.notices]


@pytest.mark.parametrize(
    ("target", "package"),
    [
        ("llvm", ["llvm v0.06"]),
        ("llvm -keys=arm_cpu,cpu -device=arm_cpu -model=rk3399", ["arm_cpu v0.09"]),
        ("nvptx", ["cuda v0.11"]),
        ("llvm -device=riscv", ["llvm v0.06"]),
        ("rocm", []),
    ],
)
def test_a_target_has_its_package(registry, root, target, package):
    assert names(find_sources(Target.parse(target), Folder(registry), root)) == (package, [])


def test_one_s_own_logs_come_first(registry, root, tmp_path):
    own = write_rows(tmp_path / "own.log", 1, cost=1.0)
    sources = find_sources(LLVM, Folder(registry), root, own=[own])
    assert names(sources)[0] == [str(own), "llvm v0.06"]
    answers = lookup_all(LLVM, sources.logs)
    assert [(answer.source, answer.record.mean_cost > 0.5) for answer in answers.values()] == [
        (str(own), True),
        ("llvm v0.06", False),
    ]


def test_where_fetching_is_switched_off_one_s_own_logs_are_left(root, tmp_path):
    sources = find_sources(LLVM, find_location("NONE"), root, own=[tmp_path / "own.log"])
    assert names(sources) == ([str(tmp_path / "own.log")], ["switched-off"])


def test_a_pin_is_kept(registry, root):
    pins = {"llvm": Version.parse("v0.05")}
    assert names(find_sources(LLVM, Folder(registry), root, pins=pins)) == (["llvm v0.05"], [])
    yank(Reference.parse("llvm@v0.05"), "bad", registry)
    assert names(find_sources(LLVM, Folder(registry), root, pins=pins)) == (["llvm v0.05"], ["yanked"])
    with pytest.raises(UsageError, match=r"no llvm v0\.07"):
        find_sources(LLVM, Folder(registry), root, pins={"llvm": Version.parse("v0.07")})


def test_a_package_of_which_every_version_is_yanked_is_left_out(registry, root):
    yank(Reference.parse("cuda@v0.11"), "bad", registry)
    assert names(find_sources(Target.parse("cuda"), Folder(registry), root)) == ([], ["yanked"])


def test_without_a_network_what_is_here_is_taken(registry, root, tmp_path):
    def broken(request):
        return request.path.endswith("v0.07.log") and (request.send_error(500), True)[1]

    with served(registry, broken) as server:
        location = Web(server.url)
        assert names(find_sources(LLVM, location, root)) == (["llvm v0.06"], ["unsigned"])
        release("llvm", write_rows(tmp_path / "llvm_v0.07.log", 3), registry)
        assert names(find_sources(LLVM, location, root)) == (["llvm v0.06"], ["offline"])
        with pytest.raises(EnvironmentFailure, match="500"):
            find_sources(LLVM, location, root, pins={"llvm": Version.parse("v0.07")})
    assert names(find_sources(LLVM, location, root)) == (["llvm v0.06"], ["offline", "offline"])
    with pytest.raises(EnvironmentFailure, match="does not respond"):
        find_sources(Target.parse("cuda"), location, root)


def test_where_nothing_can_be_written_a_folders_own_file_is_taken(registry, tmp_path):
    (tmp_path / "file").write_text("")
    sources = find_sources(LLVM, Folder(registry), Root(tmp_path / "file" / "root"))
    assert names(sources) == (["llvm v0.06"], ["offline"])
    assert sources.logs[0].path == registry / "llvm_v0.06.log"


def test_the_newest_here_is_no_yanked_and_no_damaged_one(registry, tmp_path):
    def newest(**options):
        here = newest_here(registry, read_index(registry), "llvm", **options)
        return here and here.path.name

    for rows in (3, 4):
        release("llvm", write_rows(tmp_path / "llvm.log", rows), registry)
    assert newest() == "llvm_v0.08.log"
    yank(Reference.parse("llvm@v0.08"), "bad", registry)
    assert newest() == "llvm_v0.07.log"
    (registry / "llvm_v0.07.log").write_text("something else")
    assert newest() == "llvm_v0.06.log"
    write_rows(registry / "llvm_v0.10.log", 1)
    write_rows(registry / "llvm_v0.9.log", 1)
    assert newest() == "llvm_v0.10.log", "which an AutoTVM client may have fetched"
    assert newest(listed=True) == "llvm_v0.06.log"
    assert newest(before=Version.parse("v0.06")) == "llvm_v0.05.log"
    assert newest_here(registry, read_index(registry), "rocm") is None
    assert newest_here(registry, None, "llvm").path.name == "llvm_v0.10.log"
