"""An index is untrusted text: whatever stands in it, there is an index or our error, and nothing else.

Ten thousand examples in all with `make test-all`.
"""

import json
from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.conftest import examples
from tests.packages.test_index import TIME, index_of
from tophub_registry.errors import InputError, TophubError
from tophub_registry.packages.index import Imported, Index, check_successor, freshness, iso_time, resolve
from tophub_registry.packages.version import PACKAGE, VERSION, Reference, Version

_INDEX = index_of("llvm@v0.05", "llvm@v0.06", "cuda@v0.11", yanked=["cuda@v0.11"])
_TAKEN_OVER = _INDEX.versions("llvm")[Version.parse("v0.05")].model_copy(
    update={"file": "llvm_v0.04.log", "imported": Imported(source="http://there", at=iso_time(TIME))}
)
INDEX = _INDEX.with_version("llvm", Version.parse("v0.04"), _TAKEN_OVER, TIME)
BYTES = INDEX.to_bytes()

STRANGE = st.sampled_from(
    [10**400, -1, 1 << 53, 1e308, float("nan"), "", "v0.05", "x" * 5000, "\ud800", "\x1b[2J", True]
)
NAMES = st.sampled_from(["v0.05", "v0.06", "llvm", "file", "bytes", "yanked", "imported", "base", "at"]) | st.text(
    max_size=9
)
VALUES = st.recursive(
    STRANGE | st.none() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3),
    max_leaves=6,
)


def paths(value, path=()):
    yield path
    for key in value if isinstance(value, dict) else ():
        yield from paths(value[key], (*path, key))


FIELDS = json.loads(BYTES)
PATHS = [path for path in paths(FIELDS) if path]


def read(data):
    """Read an index and use it; return None where it is none."""
    index, error = parsed(data)
    if index is None:
        assert error.file == "index.json"
        assert str(error).isprintable()
        assert len(str(error)) < 1000
        return None
    assert Index.parse(index.to_bytes()) == index
    freshness(index, TIME)
    for package in index.packages:
        for version in (None, *index.versions(package)):
            for successor in (index, INDEX):
                with suppress(TophubError):
                    resolve(successor, Reference(package, version))
                    check_successor(index, successor, place="there", remedy="this")
    return index


def parsed(data):
    try:
        return Index.parse(data, file="index.json"), None
    except InputError as error:
        return None, error


@settings(max_examples=examples(4000), deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, len(BYTES)), st.integers(0, 30), st.binary(max_size=12)), min_size=1, max_size=3)
)
def test_bytes_changed_anywhere(changes):
    data = BYTES
    for start, length, replacement in changes:
        data = data[:start] + replacement + data[start + length :]
    read(data)


@pytest.mark.slow
@settings(max_examples=examples(4000), deadline=None)
@given(st.lists(st.tuples(st.sampled_from(PATHS), VALUES, NAMES), min_size=1, max_size=3))
def test_values_changed_added_and_renamed(changes):
    fields = json.loads(BYTES)
    for path, value, name in changes:
        place = fields
        for key in path[:-1]:
            place = place.get(key) if isinstance(place, dict) else None
        if isinstance(place, dict):
            place[path[-1]] = value
            if len(name) % 2:
                place[name] = place.pop(path[-1])
    read(json.dumps(fields).encode())


@settings(max_examples=examples(1700), deadline=None)
@given(
    st.binary(max_size=300)
    | VALUES.map(lambda value: json.dumps(value).encode())
    | st.text(max_size=99).map(repr).map(str.encode)
)
def test_anything_at_all(data):
    read(data)


@pytest.mark.slow
@settings(max_examples=300, deadline=None)
@given(
    st.dictionaries(
        st.from_regex(PACKAGE, fullmatch=True), st.lists(st.from_regex(VERSION, fullmatch=True), max_size=4), max_size=3
    )
)
def test_whatever_names_and_numbers_are_allowed_make_an_index(names):
    entry = FIELDS["packages"]["llvm"]["v0.05"]
    fields = {**FIELDS, "packages": {}}
    for package, versions in names.items():
        if versions:
            fields["packages"][package] = {
                version: {**entry, "file": f"{package}_{version}.log", "base": None} for version in versions
            }
    assert read(json.dumps(fields).encode()) is not None
