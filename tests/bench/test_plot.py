"""The chart of a comparison: a page of its own, whatever the model is called."""

import json

import pytest

pytest.importorskip("plotly", reason="needs the extra [report]")
pytest.importorskip("numpy", reason="needs the extra [bench]")

from tests.browser import drawn_in_browser, needs_chromium
from tophub_registry.bench.comparison import Comparison, FrameworkResult
from tophub_registry.bench.plot import render

HOSTILE = "</title></script><script>document.title = 'bad'</script>"


def page(model):
    rows = (
        FrameworkResult("tophub", times=(1e-3, 1.1e-3, 1.2e-3)),
        FrameworkResult("pytorch", times=(2e-3, 2.2e-3, 2.1e-3)),
        FrameworkResult("onnxruntime", failure="not installed"),
    )
    return render(Comparison(model, "llvm -mcpu=znver4", "AMD EPYC, 2 cores", 2, bind_threads=True, rows=rows))


def test_each_framework_that_ran_has_a_bar_and_the_page_needs_no_network():
    text = page("resnet18_v1")
    assert "<title>resnet18_v1, llvm -mcpu=znver4, AMD EPYC, 2 cores, threads: 2</title>" in text
    assert json.dumps(["tophub", "pytorch"], separators=(",", ":")) in text
    assert "onnxruntime" not in text
    assert "<script src" not in text


def test_a_models_name_is_text():
    text = page(HOSTILE)
    assert HOSTILE not in text
    assert "&lt;/title&gt;" in text


@pytest.mark.slow
@needs_chromium
@pytest.mark.parametrize("model", ["resnet18_v1", HOSTILE], ids=["sound", "hostile"])
def test_a_browser_draws_it(model, tmp_path):
    (tmp_path / "page.html").write_text(page(model))
    drawn = drawn_in_browser(tmp_path / "page.html")
    assert 'class="main-svg"' in drawn
    assert "<title>bad</title>" not in drawn
