"""The README's examples work as they stand."""

from pathlib import Path

README = Path(__file__).parents[2] / "README.md"


def test_they_go_on_from_the_newest_package(registry):
    newest = max(registry.glob("llvm_v*.log"))
    text = README.read_text()

    assert f"tophub merge registry_data/{newest.name} new.log" in text
    assert f'PACKAGE_VERSION["llvm"] = "{newest.stem.removeprefix("llvm_")}"' in text
