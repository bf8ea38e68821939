"""A folder is replaced as a whole, and only if it is one of ours."""

import os

import pytest

from tests.catalogue.sites import make_registry
from tests.killing import kill_at_random_moments
from tophub_registry.catalogue import replacing as module
from tophub_registry.catalogue.replacing import MANIFEST, replacing
from tophub_registry.catalogue.site import write_site
from tophub_registry.errors import EnvironmentFailure, UsageError


def write(folder, text):
    with replacing(folder) as new:
        new.write("index.html", text.encode())
        new.write("data/1.js", text.encode())
        new.write(MANIFEST, b'{"files": ["data/1.js", "index.html"]}')


def files(folder):
    return {str(path.relative_to(folder)): path.read_text() for path in folder.rglob("*") if path.is_file()}


def test_the_new_folder_takes_the_old_ones_place(tmp_path):
    site = tmp_path / "deep" / "site"
    site.parent.mkdir()
    write(site, "old")
    (site / "stale").mkdir()  # an empty folder is nobody's
    write(site, "new")
    assert {name: text for name, text in files(site).items() if name != MANIFEST} == {
        "index.html": "new",
        "data/1.js": "new",
    }
    assert [path.name for path in site.parent.iterdir()] == ["site"]


def test_an_empty_folder_becomes_the_site(tmp_path):
    (tmp_path / "site").mkdir()
    write(tmp_path / "site", "new")
    assert files(tmp_path / "site")["index.html"] == "new"


def test_an_error_leaves_the_old_folder(tmp_path):
    write(tmp_path / "site", "old")

    def fail():
        with replacing(tmp_path / "site") as new:
            new.write("index.html", b"new")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert files(tmp_path / "site")["index.html"] == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["site"]


@pytest.mark.parametrize("own", ["notes.txt", ".git/config", "data/mine.js"])
def test_a_folder_with_somebodys_own_file_is_left_alone(own, tmp_path):
    write(tmp_path / "site", "old")
    (tmp_path / "site" / own).parent.mkdir(exist_ok=True)
    (tmp_path / "site" / own).write_text("mine")
    with pytest.raises(UsageError, match="not the catalogue's"):
        write(tmp_path / "site", "new")
    assert files(tmp_path / "site")[own] == "mine"
    assert files(tmp_path / "site")["index.html"] == "old"


def test_a_folder_that_was_not_written_here_is_refused_before_the_registry_is_read(tmp_path):
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "index.html").write_text("mine")
    with pytest.raises(UsageError, match=r"index\.html.*folder of its own"):
        write_site(tmp_path / "nowhere", tmp_path / "site")


def test_a_file_or_a_link_is_not_replaced(tmp_path):
    (tmp_path / "file").write_text("mine")
    (tmp_path / "link").symlink_to(tmp_path)
    for name in ("file", "link"):
        with pytest.raises(UsageError, match="not a folder"):
            write(tmp_path / name, "new")


def test_without_an_exchange_in_one_step_the_old_folder_stays(tmp_path, monkeypatch):
    write(tmp_path / "site", "old")
    monkeypatch.setattr(module.ctypes, "CDLL", lambda *_, **__: object())  # a C library without renameat2
    with pytest.raises(EnvironmentFailure, match="can't exchange"):
        write(tmp_path / "site", "new")
    assert files(tmp_path / "site")["index.html"] == "old"
    write(tmp_path / "other", "new")
    assert files(tmp_path / "other")["index.html"] == "new"


def test_what_a_killed_process_left_behind_is_cleared_once_it_is_old(tmp_path):
    young, old = tmp_path / f".site.{'a' * 16}.part", tmp_path / f".site.{'b' * 16}.part"
    for folder in (young, old):
        folder.mkdir()
        (folder / "index.html").write_text("half")
    os.utime(old, (1, 1))
    write(tmp_path / "site", "new")
    assert sorted(path.name for path in tmp_path.iterdir()) == [young.name, "site"]


def test_a_killed_command_leaves_the_old_site_or_the_new_one(tmp_path):
    pytest.importorskip("jinja2", reason="needs the extra [report]")
    registry, site = make_registry(tmp_path), tmp_path / "out" / "site"
    site.parent.mkdir()
    old = files(write_site(registry, site, title="Alder").folder)
    states = []

    def check():
        here = files(site)
        assert here.keys() == old.keys()
        new = {name: text.replace("Alder", "Birch") for name, text in old.items()}
        assert here in (old, new)
        states.append(here == new)

    command = ["site", "--registry", registry, "-o", site, "--title", "Birch"]
    imports = ["tophub_registry.catalogue.site", "jinja2"]
    before = lambda: write_site(registry, site, title="Alder")  # noqa: E731
    kills = kill_at_random_moments(command, check, times=10, before=before, imports=imports)
    assert kills.killed >= 4
    assert states[0]
    assert not all(states)
