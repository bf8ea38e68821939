"""`tophub report`: one page that shows how tuning went, whatever stands in the log."""

import html
import json
import re
import subprocess
import sys
from html.parser import HTMLParser

import pytest

pytest.importorskip("plotly", reason="needs the extra [report]")

from tests.browser import drawn_in_browser, in_browser, needs_chromium
from tests.records.rows import MEASURED, row, text
from tophub_registry.report import page
from tophub_registry.report.reading import read_history

HOSTILE = "</script><script>document.title = 'bad'</script><img src=x onerror=\"document.title = 'bad'\">"


class Page(HTMLParser):
    """The tags of a page, its text outside scripts, and the data that its charts are drawn from."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags, self.text, self.addresses, self.data = [], "", [], ""
        self._script = False
        self.feed(text)
        self.charts = json.loads(self.data)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.addresses += [value for name, value in attrs if name in ("src", "href")]
        self._script = tag in ("script", "style")
        self._data = ("id", "data") in attrs

    def handle_endtag(self, tag):
        self._script = False

    def handle_data(self, data):
        if not self._script:
            self.text += data
        elif self._data:
            self.data += data


def tophub(*arguments):
    command = [sys.executable, "-m", "tophub_registry.cli", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def trials(count, channels=64, **changes):
    rows = []
    for number in range(count):
        said = {"device": "AMD EPYC, 2 cores", "threads": 2, "peak_gflops": 500.0}
        changes = {"tophub": said, **changes}
        cost = [1e9] if number % 10 == 3 else [1e-3 / (1 + number % 7), 1.1e-3 / (1 + number % 7)]
        rows.append(
            text(
                channels=channels,
                index=number,
                tile_ow=(1, 2, 4, 7, 8, 14, 28, 56)[number % 8],
                costs=cost,
                error_no=4 if number % 10 == 3 else 0,
                timestamp=MEASURED + number,
                **changes,
            )
        )
    return rows


def write(path, rows):
    path.write_text("".join(f"{row}\n" for row in rows))
    return path


def test_a_log_becomes_one_page_that_asks_the_network_for_nothing(tmp_path):
    log = write(tmp_path / "new.log", trials(40) + trials(20, channels=128))
    run = tophub("report", log, "-o", tmp_path / "report.html")
    assert run.returncode == 0, run.stderr
    assert "60 trials of 2 tasks" in run.stdout
    written = (tmp_path / "report.html").read_text()
    read = Page(written)
    assert all(address.startswith("#") for address in read.addresses)
    assert "default-src 'none'" in html.unescape(written)
    for said in ("conv2d_NCHWc.x86 1x64x56x56 64x64x3x3", "run-time error", "of the peak", "tile_ow", "500 GFLOPS"):
        assert said in read.text
    assert [len(chart["points"]) for chart in read.charts] == [40, 20]
    assert len(written) < 6e6


def test_the_outcome_as_json(tmp_path):
    page = tmp_path / "report.html"
    run = tophub("report", write(tmp_path / "new.log", trials(3)), "-o", page, "--json")
    assert json.loads(run.stdout) == {"page": str(page), "bytes": page.stat().st_size, "trials": 3, "tasks": 1}


def test_without_a_peak_that_column_and_line_are_left_out(tmp_path):
    log = write(tmp_path / "new.log", trials(10, tophub={"device": "AMD EPYC"}))
    read = Page(page.render(read_history([log]), ["new.log"]))
    assert "peak" not in read.text
    assert read.charts[0]["peak"] is None


def test_a_log_of_best_records_has_a_table_and_no_charts(tmp_path):
    log = write(tmp_path / "best.log", [text(channels=channels) for channels in range(1, 31)])
    read = Page(page.render(read_history([log]), ["best.log"]))
    assert read.tags.count("section") == 30
    assert "Results by knob" not in read.text
    assert "tuning time" not in read.text


def test_winograd_is_held_against_the_multiplications_it_needs_and_its_default_is_not_called_autotvms(tmp_path):
    said = {"device": "AMD EPYC", "peak_gflops": 1000.0}
    rows = [row(task="conv2d_NCHWc_winograd.x86", costs=[cost], tophub=said) for cost in (1e-4, 2e-4)]
    for each, kept in zip(rows, (1, 2), strict=True):
        each["config"]["entity"] = [
            ["tile_ic", "sp", [-1, 16]],
            ["tile_oc", "sp", [-1, 1, kept, 16]],
            ["tile_size", "ot", 4],
            ["tile_rows", "ot", 1],
            ["tile_p", "ot", 14],
            ["parallel_rows", "ot", True],
        ]
    log = write(tmp_path / "new.log", map(json.dumps, rows))
    read = Page(page.render(read_history([log]), ["new.log"]))
    assert "57.8% of the peak" in read.text
    assert "the device's measured peak, 1,000 GFLOPS, times 4: Winograd needs 4 times fewer" in read.text
    assert read.charts[0]["peak"] == 4000
    assert "the default config, 200 µs" in read.text
    assert "AutoTVM's default" not in read.text


def test_a_page_is_not_overwritten_unasked(tmp_path):
    log = write(tmp_path / "new.log", trials(3))
    (tmp_path / "report.html").write_text("mine")
    assert tophub("report", log, "-o", tmp_path / "report.html").returncode == 2
    assert (tmp_path / "report.html").read_text() == "mine"
    assert tophub("report", log, "-o", tmp_path / "report.html", "--force").returncode == 0


def hostile_rows():
    bad = row(tophub={"device": HOSTILE, "tuner": HOSTILE})
    bad["input"][0] = f"llvm -mcpu='{HOSTILE.replace(chr(39), '')}'"
    bad["input"][1] = HOSTILE
    bad["input"][2][0] = ["TENSOR", [1], f"{HOSTILE}\u202e\x1b[2J"]
    bad["config"]["entity"] = [[HOSTILE, "ot", HOSTILE], ["tile", "ot", "<a href='javascript:bad()'>x</a>"]]
    failed = json.loads(json.dumps(bad))
    failed["result"][:2] = [[1e9], 4]
    failed["tophub"]["error"] = HOSTILE
    return [json.dumps(bad), json.dumps(failed)]


def test_a_log_can_not_put_anything_into_the_page_but_text(tmp_path):
    log = write(tmp_path / "new.log", hostile_rows())
    written = page.render(read_history([log]), [HOSTILE])
    read = Page(written)
    assert read.tags.count("script") == 3
    assert not {"img", "iframe", "object"} & set(read.tags)
    assert read.text.count("onerror") >= 5
    assert not {"\u202e", "\x1b"} & set(written)


def test_of_very_many_trials_some_are_drawn_and_the_best_curve_is_the_same(tmp_path, monkeypatch):
    log = write(tmp_path / "new.log", trials(300))
    whole = Page(page.render(read_history([log]), ["new.log"])).charts[0]["points"]
    monkeypatch.setattr(page, "MAX_POINTS", 100)
    read = Page(page.render(read_history([log]), ["new.log"]))
    some = read.charts[0]["points"]
    assert 100 <= len(some) <= 110
    assert max(rate for _, _, rate, *_ in some if rate) == max(rate for _, _, rate, *_ in whole if rate)
    assert some[-1] == whole[-1]
    assert "one trial in 3 is drawn" in read.text


@pytest.mark.slow
def test_a_hundred_and_twenty_tasks_with_fifteen_thousand_trials_are_a_page_of_a_few_megabytes(tmp_path):
    rows = [line for channels in range(1, 121) for line in trials(125, channels=channels)]
    run = tophub("report", write(tmp_path / "new.log", rows), "-o", tmp_path / "report.html")
    assert run.returncode == 0, run.stderr
    assert (tmp_path / "report.html").stat().st_size < 8e6


@pytest.mark.parametrize("missing", ["plotly", "jinja2"])
def test_the_missing_extra_is_one_line(missing, tmp_path):
    log = write(tmp_path / "new.log", trials(3))
    program = (
        "import sys\n"
        f"sys.modules.update(dict.fromkeys([{missing!r}, 'tvm', 'numpy', 'pebble']))\n"
        "from tophub_registry.cli import main\n"
        f"main(['report', {str(log)!r}, '-o', {str(tmp_path / 'report.html')!r}])\n"
    )
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert run.returncode == 3
    assert 'pip install ".[report]"' in run.stderr
    assert len(run.stderr.splitlines()) == 1
    assert not (tmp_path / "report.html").exists()


@pytest.mark.slow
@needs_chromium
@pytest.mark.parametrize("rows", [trials(40), hostile_rows()], ids=["sound", "hostile"])
def test_a_browser_draws_the_charts_and_runs_no_script_of_the_log(rows, tmp_path):
    log = write(tmp_path / "new.log", rows)
    (tmp_path / "report.html").write_text(page.render(read_history([log]), ["new.log"]))
    drawn = drawn_in_browser(tmp_path / "report.html")
    assert drawn.count('class="main-svg"') >= 2
    assert "<title>bad</title>" not in drawn
    assert '<img src="x"' not in drawn


@pytest.mark.slow
@needs_chromium
def test_nothing_scrolls_sideways_on_a_small_laptop(tmp_path):
    """Not with two targets, failures of several kinds and long names either."""
    rows = trials(20, channels=1024, target="llvm -mcpu=sapphirerapids") + trials(20, task="depthwise_conv2d_NCHWc.x86")
    rows += [text(error_no=number, index=900 + number, tile_ow=14) for number in (3, 5, 6, 7)]
    written = page.render(read_history([write(tmp_path / "new.log", rows)]), ["new.log"])
    measure = "Math.max(...[...document.querySelectorAll('html, .wide')].map((e) => e.scrollWidth - e.clientWidth))"
    without_policy = re.sub(r"<meta http-equiv=[^>]*>", "", written)
    (tmp_path / "report.html").write_text(f"{without_policy}<script>document.title = {measure}</script>")
    assert "<title>0</title>" in in_browser(tmp_path / "report.html", width=1280)
