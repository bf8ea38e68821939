"""The index and the decisions that are made from it."""

import json
from datetime import datetime, timedelta, timezone

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tophub_registry.errors import EnvironmentFailure, InputError, UsageError
from tophub_registry.packages.index import (
    LIFETIME,
    Imported,
    Index,
    Published,
    check_successor,
    freshness,
    iso_time,
    resolve,
)
from tophub_registry.packages.version import Reference, Version

TIME = datetime(2026, 5, 1, 12, tzinfo=timezone.utc)


def published(package, version, *, base=None, yanked=None, sha256="0" * 64):
    return Published(
        file=f"{package}_{version}.log",
        bytes=100,
        sha256=sha256,
        records=2,
        released=iso_time(TIME),
        base=base,
        tasks={"dense_nopack.x86": 2},
        targets={"llvm -mcpu=znver4": 1, "llvm": 1},
        yanked=yanked,
    )


def index_of(*names, yanked=(), serial=None):
    index = Index.empty(TIME)
    for name in names:
        package, version = name.split("@")
        entry = published(package, version, yanked="wrong numbers" if name in yanked else None)
        index = index.with_version(package, Version.parse(version), entry, TIME)
    return index if serial is None else index.model_copy(update={"serial": serial})


def change(index, path, value):
    """Return the index's JSON with one value replaced (or added) at a path."""
    fields = json.loads(index.to_bytes())
    place = fields
    for step in path[:-1]:
        place = place[step]
    place[path[-1]] = value
    return json.dumps(fields).encode()


def test_an_index_reads_back_and_its_bytes_do_not_depend_on_any_order():
    index = index_of("llvm@v0.05", "cuda@v0.99", "cuda@v0.100", "cuda@v1.00")
    shuffled = Index(
        serial=index.serial,
        expires=index.expires,
        packages={
            package: dict(reversed(list(index.packages[package].items()))) for package in reversed(list(index.packages))
        },
    )
    assert Index.parse(index.to_bytes()) == index == shuffled
    assert shuffled.to_bytes() == index.to_bytes()
    written = json.loads(index.to_bytes())
    assert list(written["packages"]) == ["cuda", "llvm"]
    assert list(written["packages"]["cuda"]) == ["v0.99", "v0.100", "v1.00"]
    assert list(written["packages"]["cuda"]["v1.00"]["targets"]) == ["llvm", "llvm -mcpu=znver4"]


def test_the_serial_grows_and_the_expiry_begins_anew_with_every_version():
    index = index_of("llvm@v0.05", "llvm@v0.06")
    assert index.serial == 2
    later = index.with_version("cuda", Version.parse("v0.11"), published("cuda", "v0.11"), TIME + timedelta(days=9))
    assert later.serial == 3
    assert later.expires == iso_time(TIME + timedelta(days=9) + LIFETIME)


@pytest.mark.parametrize("version", ["v0.05", "v0.04"])
def test_a_number_that_is_taken_or_passed_is_refused(version):
    with pytest.raises(UsageError, match=f"llvm {version}"):
        index_of("llvm@v0.05", f"llvm@{version}")


def test_an_imported_version_may_have_a_number_that_was_passed():
    taken_over = published("llvm", "v0.04").model_copy(update={"imported": Imported(source="there", at=iso_time(TIME))})
    index = index_of("llvm@v0.05").with_version("llvm", Version.parse("v0.04"), taken_over, TIME)
    assert [str(version) for version in index.versions("llvm")] == ["v0.04", "v0.05"]
    assert str(index.newest("llvm")) == "v0.05"
    assert Index.parse(index.to_bytes()) == index
    with pytest.raises(UsageError, match="never changes"):
        index.with_version("llvm", Version.parse("v0.04"), taken_over, TIME)


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (["packages", "llvm", "v0.05", "file"], "../../.bashrc", "is named"),
        (["packages", "llvm", "v0.05", "file"], "/etc/passwd", "is named"),
        (["packages", "llvm", "v0.05", "file"], "llvm_v0.06.log", "is named"),
        (["packages", "../up"], {}, "packages"),
        (["packages", "llvm", "v0.5"], {}, "packages"),
        (["packages", "llvm", "v0.05", "bytes"], -1, "greater"),
        (["packages", "llvm", "v0.05", "bytes"], 1 << 60, "less"),
        (["packages", "llvm", "v0.05", "bytes"], "100", "integer"),
        (["packages", "llvm", "v0.05", "sha256"], "A" * 64, "pattern"),
        (["packages", "llvm", "v0.05", "base"], "v0.05", "can't be based on"),
        (["packages", "llvm", "v0.05", "base"], "v0.06", "can't be based on"),
        (["packages", "llvm", "v0.05", "base"], "v0.04", "is based on v0.04, which is not listed"),
        (["packages", "llvm", "v0.05", "imported"], {"source": "http://there"}, "imported.at"),
        (["packages", "llvm", "v0.05", "imported"], {"source": "\x1b[2J", "at": iso_time(TIME)}, "unprintable"),
        (["packages", "llvm", "v0.05", "released"], "2026-02-30T00:00:00Z", "released"),
        (["packages", "llvm", "v0.05", "yanked"], "\x1b[2Jall is well", "unprintable"),
        (["packages", "llvm", "v0.05", "tasks"], {"\x1b]0;": 1}, "unprintable"),
        (["packages", "llvm", "v0.05", "url"], "http://elsewhere", "url"),
        (["packages", "empty"], {}, "packages"),
        (["serial"], -1, "serial"),
        (["expires"], "tomorrow", "expires"),
        (["mirrors"], [], "mirrors"),
        (["\x1b]0;all is well\x07"], [], r"index: \\x1b\]0;all is well\\x07: Extra"),
    ],
)
def test_an_index_that_is_not_one_is_refused_with_the_place(path, value, message):
    with pytest.raises(InputError, match=message) as caught:
        Index.parse(change(index_of("llvm@v0.05"), path, value), file="index.json")
    assert caught.value.file == "index.json"


def test_an_index_of_a_later_schema_asks_for_an_upgrade():
    with pytest.raises(InputError, match="schema version 3") as caught:
        Index.parse(change(index_of(), ["schema_version"], 3))
    assert caught.value.remedy == "upgrade tophub-registry"


@pytest.mark.parametrize(
    "data", [b"", b"{", b"<html>", b"null", b"[" * 100_000, b'{"a":' * 10_000, b"\xff\xfe", b"1e999"]
)
def test_what_is_no_json_object_is_refused(data):
    with pytest.raises(InputError, match="not an index"):
        Index.parse(data)


_BYTES = index_of("llvm@v0.05", "cuda@v0.11", yanked=["cuda@v0.11"]).to_bytes()


@settings(max_examples=300, deadline=None)
@given(
    st.integers(0, len(_BYTES)), st.integers(0, 30), st.binary(max_size=30) | st.sampled_from([b"9" * 5000, b'"', b"-"])
)
def test_a_mutated_index_is_an_index_or_our_error(start, length, replacement):
    try:
        index = Index.parse(_BYTES[:start] + replacement + _BYTES[start + length :])
    except InputError:
        return
    assert Index.parse(index.to_bytes()) == index


def test_a_name_stands_for_the_newest_version_that_is_not_yanked():
    index = index_of("cuda@v0.09", "cuda@v0.10", "cuda@v0.11", yanked=["cuda@v0.11"])
    found = resolve(index, Reference.parse("cuda"))
    assert (str(found.version), found.notices) == ("v0.10", ())


def test_a_pin_on_a_yanked_version_resolves_and_warns():
    index = index_of("cuda@v0.10", "cuda@v0.11", yanked=["cuda@v0.11"])
    found = resolve(index, Reference.parse("cuda@v0.11"))
    assert str(found.version) == "v0.11"
    (notice,) = found.notices
    assert notice.rule == "yanked"
    assert "wrong numbers" in str(notice)
    assert "v0.10" in str(notice)


@pytest.mark.parametrize(
    ("name", "message"), [("rocm", "no package"), ("cuda@v0.12", "no cuda v0.12"), ("cuda", "every")]
)
def test_what_is_not_there_is_an_error_that_says_what_is(name, message):
    index = index_of("cuda@v0.11", yanked=["cuda@v0.11"])
    with pytest.raises(UsageError, match=message) as caught:
        resolve(index, Reference.parse(name))
    assert "cuda" in caught.value.remedy or "v0.11" in caught.value.remedy


def refused(seen, offered):
    with pytest.raises(EnvironmentFailure) as caught:
        check_successor(seen, offered, place="there", remedy="this")
    assert (caught.value.file, caught.value.remedy) == ("there", "this")
    return caught.value.message


def test_rollback_of_the_serial_is_an_error():
    assert "from serial 2 to 1" in refused(index_of("cuda@v0.10", "cuda@v0.11"), index_of("cuda@v0.10"))


def test_rollback_of_a_version_is_an_error():
    assert "v0.11 was published there and is gone" in refused(
        index_of("cuda@v0.10", "cuda@v0.11"), index_of("cuda@v0.10", serial=7)
    )


def test_rewriting_a_published_version_is_an_error():
    rewritten = Index.parse(change(index_of("cuda@v0.10", serial=7), ["packages", "cuda", "v0.10", "sha256"], "1" * 64))
    assert "other bytes" in refused(index_of("cuda@v0.10"), rewritten)


def test_rewriting_what_the_index_says_of_a_published_version_is_an_error():
    rewritten = Index.parse(change(index_of("cuda@v0.10", serial=7), ["packages", "cuda", "v0.10", "records"], 3))
    assert "another entry" in refused(index_of("cuda@v0.10"), rewritten)


def test_changing_without_a_new_serial_is_an_error():
    seen = index_of("cuda@v0.10")
    assert "its serial is still 1" in refused(seen, index_of("cuda@v0.10", yanked=["cuda@v0.10"]))


def test_growing_yanking_and_staying_the_same_are_fine():
    seen = index_of("cuda@v0.10")
    check_successor(seen, seen, place="there", remedy="this")
    check_successor(seen, index_of("cuda@v0.10", "cuda@v0.11"), place="there", remedy="this")
    check_successor(seen, index_of("cuda@v0.10", yanked=["cuda@v0.10"], serial=2), place="there", remedy="this")


def test_an_expired_index_is_noticed():
    index = index_of("cuda@v0.10")
    assert freshness(index, TIME + LIFETIME) == ()
    (notice,) = freshness(index, TIME + LIFETIME + timedelta(seconds=1))
    assert notice.rule == "expired"
    assert "2027-05-01" in str(notice)
