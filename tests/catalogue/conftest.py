"""What the catalogue's tests share: the catalogue of this repository's own packages, made once."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.catalogue.sites import ROOT
from tophub_registry.catalogue.site import WrittenSite, write_site

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(scope="session")
def our_site(tmp_path_factory: pytest.TempPathFactory) -> WrittenSite:
    """Return what was written."""
    return write_site(ROOT / "registry_data", tmp_path_factory.mktemp("ours") / "site")


@pytest.fixture(scope="session")
def ours(our_site: WrittenSite) -> Path:
    """Return its folder."""
    return our_site.folder
