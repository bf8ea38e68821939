"""The catalogue in a browser: from a folder, from a server, on a phone, and with hostile logs."""

from __future__ import annotations

import html
import re
import shutil

import pytest

pytest.importorskip("jinja2", reason="needs the extra [report]")

from tests.browser import in_browser, needs_chromium
from tests.catalogue.sites import hostile_registry, make_registry, odd_registry
from tests.registries import served
from tophub_registry.catalogue.site import write_site

pytestmark = needs_chromium

_TRIES = 3
"""On a busy machine the browser may end before the page has loaded its data."""


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    folder = tmp_path_factory.mktemp("small")
    return write_site(make_registry(folder), folder / "site").folder


def shown(page, fragment="", awaited="records?</p>", **options):
    """Return the text of a page, and the rows of its list of records, once `awaited` is in it."""
    for _ in range(_TRIES):
        drawn = in_browser(page, fragment=fragment, **options)
        if re.search(awaited, drawn):
            break
    lists = re.findall(r'<td class="name".*?>(?:<button.*?>)?([^<]*).*?<td class="value sizes".*?>([^<]*)', drawn)
    return html.unescape(re.sub(r"<[^>]*>", " ", drawn)), lists


@pytest.mark.slow
def test_search_finds_a_layer_of_our_packages_by_its_shape(ours):
    text, found = shown(ours / "index.html", "#q=512%203x3")
    assert int(re.search(r"(\d+) records ", text)[1]) > 100
    assert found
    for _, sizes in found:
        assert re.search(r"(?<!\d)512(?!\d)", sizes)
        assert re.search(r"(?<!\d)3x3(?!\d)", sizes)


@pytest.mark.parametrize(
    ("query", "sizes"),
    [
        ("512", ["1x512x56x56 64x512x3x3"]),  # and not 1512
        ("[1, 512, 56, 56]", ["1x512x56x56 64x512x3x3"]),
        ("128\u00d756\u00d756", ["1x128x56x56 64x128x3x3"]),
        ("nchwc EPYC 1512", ["1x1512x56x56 64x1512x3x3"]),
        ("128x56x", ["1x128x56x56 64x128x3x3"]),  # somebody is still typing
        ("task:conv2d_NCHWc", []),
    ],
)
def test_search_is_by_shape_task_target_and_device(query, sizes, site):
    text, found = shown(site / "index.html", f"#q={query.replace(' ', '%20')}", "records?</p>|No record fits")
    assert [each for _, each in found] == sizes
    assert bool(found) != ("No record fits" in text)


def test_an_address_leads_to_a_record_with_its_provenance_and_its_past(site):
    text, found = shown(site / "llvm_v0.04.html", "#r3", "Cost in this and earlier")
    assert len(found) == 4
    for said in (
        "tile_oc",
        "[-1, 32]",
        "AMD EPYC, 2 cores",
        "weights before each run",
        "500 GFLOPS",
        "v0.02",
        "900 µs",
    ):
        assert said in text


def test_a_server_gives_the_same_pages(site):
    with served(site) as server:
        _, found = shown(site / "index.html", "#q=64x512x3x3", address=f"{server.url}/index.html")
    assert len(found) == 1


def test_a_log_runs_no_script(tmp_path):
    site = write_site(hostile_registry(tmp_path), tmp_path / "site").folder
    drawn = in_browser(site / "llvm_v0.01.html", fragment="#r2")
    assert "<title>bad</title>" not in drawn
    assert '<img src="x"' not in drawn
    assert "Config 193" in drawn


@pytest.mark.parametrize("line", [1, 8])
def test_odd_records_are_shown_without_a_complaint(line, tmp_path):
    site = write_site(odd_registry(tmp_path), tmp_path / "site").folder
    text, found = shown(site / "llvm_v0.01.html", f"#r{line}", f"line {line} of")
    assert len(found) == 11
    assert f"line {line} of llvm_v0.01.log" in text


_MEASURE = """
addEventListener("load", () => setTimeout(() => parent.postMessage([
  location.pathname.split("/").pop(),
  ...[...document.querySelectorAll("html, .wide")].map((each) => each.scrollWidth - each.clientWidth)], "*"), 1500));
"""

_FRAMES = """<!DOCTYPE html><title>nothing yet</title><script>
const found = {};
addEventListener("message", ({ data: [page, ...overflows] }) => {
  found[page] = Math.max(...overflows);
  document.title = JSON.stringify(found);
});
</script>"""


@pytest.mark.slow
def test_nothing_scrolls_sideways_on_a_phone(ours, tmp_path):
    """No window is as narrow as a phone, but a frame is; a page tells the width of what it has."""
    copy = tmp_path / "site"
    shutil.copytree(ours, copy)
    (copy / "measure.js").write_text(_MEASURE)
    pages = {
        "index.html": "#q=64x56x56",
        "devices.html": "",
        "package_llvm.html": "",
        "llvm_v0.12.html": "#r1",
        "cuda_v0.17.html": "#r9",
    }
    for page in pages:
        text = (copy / page).read_text()
        (copy / page).write_text(text.replace("</body>", '<script src="measure.js"></script></body>'))
    frames = [f'<iframe width="390" height="800" src="{page}{fragment}"></iframe>' for page, fragment in pages.items()]
    (copy / "frames.html").write_text(_FRAMES + "".join(frames))
    for _ in range(_TRIES):
        title = re.search(r"<title>(.*?)</title>", in_browser(copy / "frames.html"))[1]
        if title.count(":") == len(pages):
            break
    assert title == "{" + ",".join(f'"{page}":0' for page in _order(title)) + "}"
    assert set(_order(title)) == set(pages)


def _order(title):
    return re.findall(r'"([^"]+)":', title)
