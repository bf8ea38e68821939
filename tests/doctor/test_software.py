"""What is installed, and whether it fits: each finding is provoked once."""

import platform
import sys
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

from tests.doctor.installations import alone, install, module
from tophub_registry.doctor import asking, software
from tophub_registry.doctor.asking import Answers, Asking

GOOD = {"apache_tvm": "0.27.0.post1", "apache_tvm_ffi": "0.1.14.post1", "numpy": "1.26.4"}


def said(checks):
    return [(check.level, check.message, check.remedy) for check in checks]


def only(checks):
    (check,) = checks
    return check


@pytest.fixture
def without_tvm(monkeypatch):
    for name in [name for name in sys.modules if name == "tvm" or name.startswith("tvm.")]:
        monkeypatch.delitem(sys.modules, name)


def test_the_wanted_versions_are_those_of_the_extras():
    project = pytest.importorskip("tomllib").loads((Path(__file__).parents[2] / "pyproject.toml").read_text())[
        "project"
    ]
    needed = {}
    for extra in ("compile", "tune", "mxnet", "onnx", "torch"):
        for text in project["optional-dependencies"][extra]:
            requirement = Requirement(text)
            if requirement.name not in {"tophub-registry", "setuptools"}:
                needed.setdefault(requirement.name, requirement.specifier)
    assert {name: SpecifierSet(wanted) for name, wanted in software.WANTED.items()} == needed
    supported = [each.rpartition(" ")[2] for each in project["classifiers"] if "Python :: 3." in each]
    assert (supported[0], supported[-1]) == software.PYTHONS


def test_python_and_the_system(monkeypatch):
    assert only(software.python()).level == "ok"
    monkeypatch.setattr(platform, "machine", lambda: "aarch64")
    assert "aarch64: not tested there" in only(software.python()).message
    monkeypatch.setattr(sys, "version_info", (3, 14, 0))
    assert only(software.python()).remedy == "use Python 3.10 to 3.13"


@pytest.mark.usefixtures("without_tvm")
def test_without_tvm_it_is_said_what_works(monkeypatch, tmp_path):
    alone(monkeypatch, tmp_path)
    assert not software.is_there("tvm")
    check = only(software.tvm(None))
    assert (check.level, "the extra [compile]" in check.message) == ("ok", True)


@pytest.mark.usefixtures("without_tvm")
@pytest.mark.parametrize(
    ("versions", "words"),
    [
        ({"apache_tvm": "0.27.0.post1", "apache_tvm_ffi": "0.1.15.post1"}, "0.1.15.post1 crashes with apache-tvm"),
        ({"apache_tvm": "0.27.0.post1"}, "apache-tvm-ffi is not installed"),
        ({"apache_tvm": "0.28.0", "apache_tvm_ffi": "0.1.14.post1"}, "apache-tvm 0.28.0, and 0.27.0.post1 is needed"),
    ],
)
def test_versions_of_tvm_that_do_not_fit_are_errors_with_the_command_that_helps(monkeypatch, tmp_path, versions, words):
    alone(monkeypatch, tmp_path, **versions)
    check = only(software.tvm(Answers()))
    assert (check.level, words in check.message) == ("error", True)
    assert check.remedy == "pip install apache-tvm==0.27.0.post1 apache-tvm-ffi==0.1.14.post1"


@pytest.mark.usefixtures("without_tvm")
def test_two_distributions_with_one_module_are_an_error(monkeypatch, tmp_path):
    alone(monkeypatch, tmp_path, hhb_tvm="3.2.3", **GOOD)
    check = only(software.tvm(Answers()))
    assert (check.level, check.message) == (
        "error",
        "apache-tvm 0.27.0.post1 and hhb-tvm 3.2.3 install the same module, tvm",
    )


@pytest.mark.usefixtures("without_tvm")
def test_an_old_tvm_with_autotvm_is_called_that(monkeypatch, tmp_path):
    alone(monkeypatch, tmp_path, hhb_tvm="3.2.3")
    (module(tmp_path, "") / "tvm" / "autotvm").mkdir()
    install(tmp_path, numpy="1.23.5", xgboost="1.7.6")
    check = only(software.tvm(Answers({"version": "0.16.0"})))
    assert check.level == "warning"
    assert only(software.numpy()).level == only(software.cost_models()).level == "ok", "what such a TVM wants"
    assert check.message.startswith("TVM 0.16.0 with AutoTVM: `tophub_registry.tophub.enable()`")


@pytest.mark.usefixtures("without_tvm")
def test_a_tvm_that_was_built_by_hand_is_said(monkeypatch, tmp_path):
    alone(monkeypatch, tmp_path)
    check = only(software.tvm(Answers({"place": "/home/me/tvm"})))
    assert (check.level, "that pip did not install, in /home/me/tvm" in check.message) == ("warning", True)


@pytest.mark.parametrize(
    ("text", "level", "words"),
    [
        ("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)", "error", "import tvm ends with SIGSEGV"),
        ("import os; os._exit(7)", "error", "import tvm ends with exit code 7"),
        ("raise OSError('libLLVM.so: cannot open')", "error", "OSError: libLLVM.so: cannot open"),
        ("import time; time.sleep(60)", "error", "import tvm takes more than"),
    ],
)
def test_a_tvm_that_breaks_when_it_is_imported_does_so_in_another_process(monkeypatch, tmp_path, text, level, words):
    monkeypatch.setenv("PYTHONPATH", str(module(tmp_path, text)))
    monkeypatch.setattr(asking, "PATIENCE", 1.0 if "sleep" in text else 15.0)
    answers = Asking().answers()
    alone(monkeypatch, tmp_path, **GOOD)
    found = said(software.tvm(answers))
    assert (found[0][0], words in found[0][1]) == (level, True), found


def test_the_tvm_of_this_environment_is_fine():
    pytest.importorskip("tvm")
    answers = Asking().answers()
    assert answers.errors == {}
    assert answers.facts["serialised"] > 0
    assert {check.level for check in software.tvm(answers)} == {"ok"}


@pytest.mark.parametrize(
    ("versions", "level", "words"),
    [
        ({"numpy": "2.1.0", "mxnet": "1.9.1"}, "error", "numpy 2.1.0, and mxnet 1.9.1 needs NumPy 1"),
        ({"mxnet": "1.9.1"}, "error", "not installed, and TVM and MXNet need it"),
        ({"numpy": "1.23.5", "mxnet": "1.9.1"}, "warning", "numpy 1.23.5: not tested"),
        ({"numpy": "2.1.0"}, "ok", "numpy 2.1.0"),
    ],
)
def test_numpy(monkeypatch, tmp_path, versions, level, words):
    alone(monkeypatch, tmp_path, **versions)
    check = only(software.numpy())
    assert (check.level, words in check.message) == (level, True)
    assert level == "ok" or "pip install" in check.remedy


@pytest.mark.parametrize(
    ("versions", "level", "words"),
    [
        ({"gluoncv": "0.10.5.post0"}, "error", "gluoncv is installed without MXNet"),
        ({"mxnet": "2.0.0"}, "warning", "mxnet 2.0.0: not tested"),
        ({"onnx": "1.10.0"}, "warning", "onnx 1.10.0: not tested"),
        ({"torch": "1.13.0"}, "warning", "torch 1.13.0: not tested"),
        ({"torch": "2.7.0+cpu"}, "ok", "torch 2.7.0+cpu"),
        ({"onnxruntime": "nonsense"}, "warning", "onnxruntime nonsense: not tested"),
    ],
)
def test_frameworks(monkeypatch, tmp_path, versions, level, words):
    alone(monkeypatch, tmp_path, **versions)
    check = next(iter(software.frameworks()))
    assert (check.level, words in check.message) == (level, True)


def test_mxnet_on_a_python_that_it_does_not_run_on(monkeypatch, tmp_path):
    alone(monkeypatch, tmp_path, mxnet="1.9.1")
    monkeypatch.setattr(sys, "version_info", (3, 13, 0))
    assert next(iter(software.frameworks())).message == "MXNet does not run on Python 3.13"


@pytest.mark.parametrize(
    ("versions", "level"),
    [
        ({"xgboost": "3.1.0"}, "ok"),
        ({"xgboost_cpu": "3.1.0"}, "ok"),
        ({"xgboost": "1.7"}, "warning"),
        (GOOD, "warning"),
    ],
)
def test_xgboost_under_either_name(monkeypatch, tmp_path, versions, level):
    alone(monkeypatch, tmp_path, **versions)
    assert only(software.cost_models()).level == level


def test_a_damaged_distribution_hides_no_other(monkeypatch, tmp_path):
    alone(monkeypatch, tmp_path, **GOOD)
    (tmp_path / "broken-1.0.dist-info").mkdir()
    (tmp_path / "worse-1.0.dist-info").mkdir()
    (tmp_path / "worse-1.0.dist-info" / "METADATA").write_bytes(b"\xff\xfe\0")
    assert only(software.numpy()).message == "numpy 1.26.4"
