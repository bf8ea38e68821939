"""The catalogue's files: what they say of a registry, and that a log puts nothing but text into them."""

import json
import os
import subprocess
import sys

import pytest

pytest.importorskip("jinja2", reason="needs the extra [report]")

from tests.catalogue.sites import HOSTILE, ReadPage, data_of, hostile_registry, make_registry, odd_registry
from tests.records.rows import record
from tophub_registry.catalogue.site import write_site
from tophub_registry.errors import InputError, UsageError
from tophub_registry.records.task import Task, TaskFile


@pytest.fixture(scope="module")
def registry(tmp_path_factory):
    return make_registry(tmp_path_factory.mktemp("registry"))


@pytest.fixture(scope="module")
def site(registry, tmp_path_factory):
    return write_site(registry, tmp_path_factory.mktemp("site") / "site").folder


def tophub(*arguments, **environment):
    command = [sys.executable, "-m", "tophub_registry.cli", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, env={**os.environ, **environment})


def test_every_address_on_every_page_is_a_file_of_the_site(site):
    pages = sorted(site.glob("*.html"))
    assert len(pages) == 2 + 2 + 5  # start, devices; packages; versions
    for page in pages:
        files = {address.partition("#")[0] for address in ReadPage(page).addresses} - {"", "data:,"}
        assert {file for file in files if not (site / file).is_file()} == set()


def test_the_start_page_names_the_packages_and_searches_their_newest_versions_that_are_not_yanked(site):
    page = site / "index.html"
    assert "llvm v0.04" in ReadPage(page).text
    assert 'data-tables="llvm_v0.04"' in page.read_text()


def test_each_version_tells_what_changed_since_the_one_before(site):
    page = ReadPage(site / "llvm_v0.02.html")
    for said in ("What changed since v0.01", "1 added", "1 faster", "1 the same"):
        assert said in page.text
    kinds = [row[0] for row in data_of(site, "llvm_v0.02/changes")["rows"]]
    assert sorted(kinds) == ["added", "faster"]
    assert "This is the package's first version" in ReadPage(site / "llvm_v0.01.html").text


def test_a_version_whose_file_is_missing_is_said_to_be_so_and_the_next_one_is_not_compared(site):
    page = ReadPage(site / "llvm_v0.03.html")
    assert "llvm_v0.03.log is not in the registry's folder" in page.text
    assert "conv2d_NCHWc.x86: 2" in page.text
    assert not (site / "data" / "llvm_v0.03").exists()
    assert "The file of v0.03 is missing" in ReadPage(site / "llvm_v0.04.html").text
    assert "file missing" in ReadPage(site / "package_llvm.html").text


def test_a_file_with_other_bytes_than_the_published_ones_is_not_shown(registry, tmp_path):
    copy = tmp_path / "registry"
    copy.mkdir()
    for file in registry.iterdir():
        (copy / file.name).write_bytes(file.read_bytes())
    (copy / "llvm_v0.04.log").write_bytes((copy / "llvm_v0.02.log").read_bytes())
    written = write_site(copy, tmp_path / "site")
    assert written.missing == ("llvm_v0.03", "llvm_v0.04")
    assert "is not the published one" in ReadPage(tmp_path / "site" / "llvm_v0.04.html").text


def test_a_yanked_version_says_why(site):
    assert "Yanked: wrong device" in ReadPage(site / "cuda_v0.01.html").text
    assert "Every version is yanked" in ReadPage(site / "package_cuda.html").text


def test_every_record_has_its_provenance_and_its_past(site):
    table = data_of(site, "llvm_v0.04/records")
    assert [row[2] for row in table["rows"]][:1] == ["1x64x56x56 64x64x3x3"]
    details = data_of(site, "llvm_v0.04/0")
    assert len(details["rows"]) == len(table["rows"]) == 4
    said = dict(map(tuple, details["shared"][0]))
    assert said == {
        "device": "AMD EPYC, 2 cores",
        "threads": "2",
        "weights before each run": "cold",
        "tuner": "mine",
        "device's measured peak": "500 GFLOPS",
        "TVM": "0.27.0",
    }
    past = [row[8] for row in details["rows"]]
    assert past[0] == [["v0.01", 0.0002, 0], ["v0.02", 0.0001, 0]]
    assert past[3] == []


def test_the_devices_are_those_that_the_records_name(site):
    page = ReadPage(site / "devices.html")
    assert "AMD EPYC, 2 cores, 2 threads llvm -mcpu=znver4" in page.text
    assert "a device that the records do not name" in page.text
    assert "500 GFLOPS" in page.text


def test_models_are_shown_only_from_files_that_say_something_about_them(registry, site, tmp_path):
    assert "models.html" not in ReadPage(site / "index.html").addresses
    known, unknown = record(channels=64).input, record(channels=65).input
    tasks = [
        Task(task=known.task, args=known.args, count=2, layers=["a", "b"]),
        Task(task="conv2d_NCHWc_winograd.x86", args=known.args, count=2, layers=["a", "b"]),
        Task(task=unknown.task, args=unknown.args, layers=["c"]),
    ]
    TaskFile(model="net", kind="llvm", shapes={}, tasks=tasks).write(tmp_path / "tasks.json")
    frameworks = [{"framework": "tophub", "median": 1e-3}, {"framework": "no-records", "median": 2e-3}]
    measured = {"model": "net", "target": "llvm", "device": "mine", "frameworks": frameworks}
    (tmp_path / "bench.json").write_text(json.dumps(measured))
    files = [tmp_path / "tasks.json", tmp_path / "bench.json"]
    write_site(registry, tmp_path / "site", models=files)
    page = ReadPage(tmp_path / "site" / "models.html")
    assert "llvm -mcpu=znver4 : 2 of 3 layers in llvm_v0.04" in page.text
    assert "whose kernels take 200 µs in all" in page.text
    assert "no record" in page.text
    assert "2.00 times as fast with records" in page.text
    assert "llvm_v0.04.html#r1" in page.addresses


@pytest.mark.parametrize("content", ["[", '{"frameworks": 1}', '{"tasks": []}'])
def test_a_file_that_says_nothing_about_a_model_is_an_error_and_nothing_is_written(content, registry, tmp_path):
    (tmp_path / "odd.json").write_text(content)
    with pytest.raises(InputError, match=r"odd\.json"):
        write_site(registry, tmp_path / "site", models=[tmp_path / "odd.json"])
    assert not (tmp_path / "site").exists()


def test_a_log_can_not_put_anything_into_the_site_but_text(tmp_path):
    site = write_site(hostile_registry(tmp_path), tmp_path / "site").folder
    for page in site.glob("*.html"):
        read = ReadPage(page)
        assert read.tags.count("script") == 1
        assert not {"img", "iframe", "object", "base"} & set(read.tags)
        assert not {"\u202e", "\x1b"} & set(page.read_text())
    assert "onerror" in ReadPage(site / "llvm_v0.01.html").text
    for script in (site / "data").rglob("*.js"):
        assert script.read_bytes().isascii()
        assert "\\u202e" not in script.read_text()
        assert '"__proto__":' not in script.read_text()
    assert HOSTILE in data_of(site, "llvm_v0.01/records")["places"][0]


def test_records_that_are_valid_and_odd_have_pages_too(tmp_path):
    written = write_site(odd_registry(tmp_path), tmp_path / "site")
    assert written.missing == ()
    assert len(data_of(written.folder, "llvm_v0.01/0")["rows"]) == written.records == 11
    assert "1 rows of log version 0.1 that can't be converted" in ReadPage(written.folder / "llvm_v0.01.html").text


def test_an_empty_registry_has_a_page_too(tmp_path):
    index = {"schema_version": 1, "serial": 0, "expires": "2027-01-01T00:00:00Z", "packages": {}}
    (tmp_path / "index.json").write_text(json.dumps(index))
    write_site(tmp_path, tmp_path / "site")
    assert "This registry has no packages yet" in ReadPage(tmp_path / "site" / "index.html").text


def test_what_was_written_as_json(registry, tmp_path):
    run = tophub("site", "--registry", registry, "-o", tmp_path / "site", "--json")
    assert (run.returncode, run.stderr) == (0, "")
    said = json.loads(run.stdout)
    files = [path for path in (tmp_path / "site").rglob("*") if path.is_file() and path.name != "catalogue.json"]
    assert said == {
        "folder": str(tmp_path / "site"),
        "files": len(files),
        "bytes": sum(path.stat().st_size for path in files),
        "packages": 2,
        "versions": 5,
        "records": 10,
        "missing": ["llvm_v0.03"],
    }


def test_the_command_tells_where_the_site_is_and_what_is_missing(registry, tmp_path):
    run = tophub("site", "--registry", registry, "-o", tmp_path / "site", "--title", "Ours")
    assert run.returncode == 0
    assert "llvm_v0.03.log is not in the registry's folder" in run.stderr
    assert str(tmp_path / "site" / "index.html") in run.stdout
    assert "Ours" in ReadPage(tmp_path / "site" / "index.html").text


def test_a_folder_that_is_not_a_registry_is_one_error(tmp_path):
    with pytest.raises(UsageError, match="not a registry"):
        write_site(tmp_path, tmp_path / "site")
    assert not (tmp_path / "site").exists()


def test_the_missing_extra_is_one_line(registry, tmp_path):
    program = (
        "import sys\n"
        "sys.modules.update(dict.fromkeys(['jinja2', 'tvm', 'numpy', 'plotly']))\n"
        "from tophub_registry.cli import main\n"
        f"main(['site', '--registry', {str(registry)!r}, '-o', {str(tmp_path / 'site')!r}])\n"
    )
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert run.returncode == 3
    assert "[report]" in run.stderr
    assert len(run.stderr.splitlines()) == 1
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_this_repositorys_packages_make_a_site_of_a_few_megabytes_in_light_parts(our_site):
    assert our_site.missing == ()
    assert our_site.bytes < our_site.records * 600
    assert max(path.stat().st_size for path in our_site.folder.rglob("*") if path.is_file()) < 300_000
