"""What the tests of locations share: nobody waits long before trying again."""

import pytest

from tophub_registry.packages import patience


@pytest.fixture(autouse=True)
def _no_long_pauses(monkeypatch):
    monkeypatch.setattr(patience, "PAUSE", 0.01)
