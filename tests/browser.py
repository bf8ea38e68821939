"""A headless Chromium, for the tests that look at a page."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)

needs_chromium = pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium")


def in_browser(page: Path, *, width: int = 1200, fragment: str = "", address: str | None = None) -> str:
    """Return the page as a browser has it after its scripts ran, and fail where it complains.

    Parameters
    ----------
    width
        Of the window; no window is narrower than 500 pixels.
    fragment
        What follows the address, with its `#`.
    address
        Where the page is served, if it is not opened from its folder.
    """
    profile = page.parent.with_name(f"{page.parent.name}-profile")
    flags = ["--headless", "--no-sandbox", "--disable-gpu", f"--window-size={width},4000"]
    flags += ["--virtual-time-budget=8000", f"--user-data-dir={profile}", "--enable-logging=stderr"]
    command = [str(CHROMIUM), *flags, "--dump-dom", (address or page.as_uri()) + fragment]
    run = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)
    complaints = [line for line in run.stderr.splitlines() if "CONSOLE" in line]
    assert not complaints
    return run.stdout


def drawn_in_browser(page: Path) -> str:
    """Return the page once Plotly has drawn: on a busy machine the browser may come to draw no frame at all."""
    for _ in range(3):
        drawn = in_browser(page)
        if 'class="main-svg"' in drawn:
            break
    return drawn
