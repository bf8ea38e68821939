"""The changelog's lines about data packages."""

import pytest

from tests.packages.test_index import index_of
from tophub_registry.errors import InputError
from tophub_registry.packages.version import Version
from tophub_registry.publishing.changelog import note_version

TEXT = """# Changelog

What is new.

## 0.2.0 (unreleased)

- Something.

## 0.1.0

- The first.

Data packages:

- llvm v0.04: 1 record for `llvm`.
"""


@pytest.fixture
def changelog(tmp_path):
    path = tmp_path / "CHANGELOG.md"
    path.write_text(TEXT)
    return path


def noted(path, name="llvm@v0.05"):
    package, version = name.split("@")
    return note_version(path, index_of(name), package, Version.parse(version))


def test_a_version_is_told_at_the_end_of_the_newest_entry(changelog):
    edit = noted(changelog)
    assert changelog.read_text() == TEXT
    line = "- llvm v0.05: 2 records for `llvm`, `llvm -mcpu=znver4`."
    assert edit.after.decode() == TEXT.replace("- Something.\n", f"- Something.\n\nData packages:\n\n{line}\n")
    edit.apply()
    after = noted(changelog, "cuda@v0.11").after.decode()
    assert f"{line}\n- cuda v0.11: 2 records" in after
    assert after.count("Data packages:") == 2


@pytest.mark.parametrize("name", ["llvm@v0.05", "llvm@v0.04"])
def test_a_version_that_is_told_already_is_not_told_again(changelog, name):
    if name == "llvm@v0.05":
        noted(changelog, name).apply()
    assert noted(changelog, name) is None


@pytest.mark.parametrize("ending", ["", "\n", "\n\n\n"])
def test_an_only_entry_at_the_end_of_the_file(changelog, ending):
    changelog.write_text(f"# Changelog\n\n## 0.1.0{ending}")
    line = "- llvm v0.05: 2 records for `llvm`, `llvm -mcpu=znver4`."
    assert noted(changelog).after.decode() == f"# Changelog\n\n## 0.1.0\n\nData packages:\n\n{line}{ending or chr(10)}"


def test_line_endings_stay_as_they_are(changelog):
    changelog.write_bytes(TEXT.replace("\n", "\r\n").encode())
    edit = noted(changelog)
    assert edit.after.count(b"\n") == edit.after.count(b"\r\n") == TEXT.count("\n") + 4


@pytest.mark.parametrize(
    ("data", "message"), [(b"# Changelog\n", "no entry"), (b"\xff", "not UTF-8"), (None, "no such file")]
)
def test_what_is_no_changelog_is_refused(changelog, data, message):
    changelog.unlink() if data is None else changelog.write_bytes(data)
    with pytest.raises(InputError, match=message) as caught:
        noted(changelog)
    assert caught.value.file == str(changelog)
