"""Raising one entry of a TVM's table of package versions, and nothing else."""

import pytest

from tophub_registry.errors import InputError, UsageError
from tophub_registry.packages.version import Version
from tophub_registry.publishing.tvm_tree import find_tophub, raise_version

TABLE = """# the version of each package
PACKAGE_VERSION = {
    'arm_cpu':          "v0.04",
    "llvm": 'v0.04',  # x86, "v0.04" before

    "cuda":             "v0.09", "rocm": "v0.03",
}
OTHER = {"llvm": "v0.04"}
"""


@pytest.fixture
def tophub(tmp_path):
    path = tmp_path / "python" / "tvm" / "autotvm" / "tophub.py"
    path.parent.mkdir(parents=True)
    path.write_text(TABLE)
    return path


def raised(path, package="llvm", version="v0.05"):
    return raise_version(path, package, Version.parse(version))


@pytest.mark.parametrize(
    ("package", "before", "after"),
    [
        ("llvm", "\"llvm\": 'v0.04'", "\"llvm\": 'v0.11'"),
        ("arm_cpu", "'arm_cpu':          \"v0.04\"", "'arm_cpu':          \"v0.11\""),
        ("cuda", '"v0.09"', '"v0.11"'),
        ("rocm", '"v0.03"', '"v0.11"'),
    ],
)
def test_only_the_version_of_the_package_changes(tophub, package, before, after):
    edit = raised(tophub, package, "v0.11")
    assert edit.after == TABLE.replace(before, after, 1).encode()
    assert tophub.read_text() == TABLE
    edit.apply()
    assert tophub.read_bytes() == edit.after
    assert raised(tophub, package, "v0.11") is None


def test_line_endings_and_characters_stay_as_they_are(tophub):
    text = f"# für später: ≤ v0.04\r\n{TABLE}".replace("\n", "\r\n").replace("'llvm'", "'llvm' # ü")
    tophub.write_bytes(b"\xef\xbb\xbf" + text.encode())
    edit = raised(tophub)
    assert edit.after == edit.before.replace(b"\"llvm\": 'v0.04'", b"\"llvm\": 'v0.05'", 1)


def test_the_mode_and_a_link_stay_as_they_are(tophub, tmp_path):
    tophub.chmod(0o640)
    link = tmp_path / "autotvm" / "tophub.py"
    link.parent.mkdir()
    link.symlink_to(tophub)
    raised(link).apply()
    assert link.is_symlink()
    assert (tophub.stat().st_mode & 0o777, b"'v0.05'" in tophub.read_bytes()) == (0o640, True)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (TABLE.replace("\"llvm\": 'v0.04',", ""), "no entries of 'llvm' in PACKAGE_VERSION"),
        (TABLE.replace('"rocm"', '"llvm"'), "2 entries of 'llvm'"),
        (TABLE + TABLE, "2 entries of 'llvm'"),
        ("", "no entries"),
        ("PACKAGE_VERSION = dict(llvm='v0.04')", "no entries"),
        ("PACKAGE_VERSION = {'llvm': NEWEST}", "not a version"),
        ("PACKAGE_VERSION = {'llvm': 'v0.' '04'}", "not a version"),
        ("PACKAGE_VERSION = {'llvm': 'latest'}", "not a version"),
        ("PACKAGE_VERSION = {'llvm': u'v0.04'}", "not a version"),
        ("PACKAGE_VERSION = {'llvm': 4}", "not a version"),
        ("PACKAGE_VERSION = {", "not a Python file"),
        ("\0", "not a Python file"),
        ("(" * 10_000, "not a Python file"),
    ],
)
def test_a_file_without_exactly_one_entry_is_refused(tophub, text, message):
    tophub.write_text(text)
    with pytest.raises(InputError, match=message) as caught:
        raised(tophub)
    assert caught.value.file == str(tophub)


def test_a_tvm_that_asks_for_a_later_version_is_left_alone(tophub):
    with pytest.raises(UsageError, match=r"uses cuda v0\.09, later than v0\.08"):
        raised(tophub, "cuda", "v0.08")


def test_a_file_that_somebody_else_changed_meanwhile_is_not_overwritten(tophub):
    edit = raised(tophub)
    tophub.write_text(TABLE + "# more\n")
    with pytest.raises(InputError, match="has changed meanwhile"):
        edit.apply()
    assert tophub.read_text() == TABLE + "# more\n"


def test_a_checkout_and_an_installation_are_found(tophub, tmp_path):
    assert find_tophub(tmp_path) == tophub
    assert find_tophub(tmp_path / "python") == tophub
    with pytest.raises(UsageError, match="not a TVM with AutoTVM"):
        find_tophub(tmp_path / "elsewhere")
