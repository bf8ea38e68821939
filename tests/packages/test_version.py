"""Names and numbers of packages."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tophub_registry.errors import UsageError
from tophub_registry.packages.version import FIRST, FileName, Reference, Version, check_package, next_file

versions = st.builds(
    lambda major, minor: Version.parse(f"v{major}.{minor:02}"), st.integers(0, 999), st.integers(0, 99_999)
)
packages = st.from_regex(r"\A[a-z][a-z0-9_-]{0,63}\Z")


def test_versions_are_ordered_as_numbers():
    written = ["v1.00", "v0.10", "v0.100", "v0.09", "v10.00", "v0.99"]
    assert [str(v) for v in sorted(map(Version.parse, written))] == [
        "v0.09",
        "v0.10",
        "v0.99",
        "v0.100",
        "v1.00",
        "v10.00",
    ]


@pytest.mark.parametrize(
    ("version", "following"),
    [("v0.05", "v0.06"), ("v0.09", "v0.10"), ("v0.99", "v1.00"), ("v1.00", "v1.01"), ("v0.100", "v1.00")],
)
def test_the_next_version(version, following):
    assert str(Version.parse(version).next()) == following


@settings(deadline=None)
@given(versions)
def test_the_next_version_is_greater_and_a_version_reads_back(version):
    assert version < version.next()
    assert Version.parse(str(version)) == version


@pytest.mark.parametrize(
    "text", ["0.05", "v0.5", "v0.005", "v00.05", "v0", "v0.05.1", "v0.05\n", "v0.\u0660\u0665", "", "v-1.00"]
)
def test_a_version_has_one_spelling(text):
    with pytest.raises(UsageError, match="not a version"):
        Version.parse(text)


@settings(deadline=None)
@given(packages, versions)
def test_a_file_name_reads_back(package, version):
    name = str(FileName(package, version))
    assert FileName.parse(name) == (package, version)
    assert Path("/root", name).parent == Path("/root")


@pytest.mark.parametrize(
    "name", ["llvm.log", "llvm_v0.5.log", "llvm_v0.05.log.gz", "../llvm_v0.05.log", "a/llvm_v0.05.log", "_v0.05.log"]
)
def test_other_file_names_say_nothing(name):
    assert FileName.parse(name) is None


@pytest.mark.parametrize(
    "name", ["..", ".", "", "../cuda", "a/b", "a\\b", "/etc", "cuda.", "Cuda", "-cuda", "a" * 65, "cuda\n", "a\0b", "ä"]
)
def test_a_package_name_can_not_leave_the_root(name):
    with pytest.raises(UsageError, match="not a package name"):
        check_package(name)
    with pytest.raises(UsageError):
        Reference.parse(name)


def test_the_next_file_stands_beside_the_old_one():
    assert next_file("here/llvm_v0.05.log") == Path("here/llvm_v0.06.log")
    assert next_file(Path("arm_cpu_v0.99.log")) == Path("arm_cpu_v1.00.log")
    assert next_file("new.log") is None


def test_references():
    assert Reference.parse("cuda") == ("cuda", None)
    assert Reference.parse("cuda@v0.11") == ("cuda", Version.parse("v0.11"))
    assert str(Reference.parse("cuda@v0.11")) == "cuda@v0.11"
    with pytest.raises(UsageError, match="not a version"):
        Reference.parse("cuda@")
    assert str(FIRST) == "v0.01"
