"""MXNet and gluoncv are imported in silence, beside today's NumPy and PyTorch, or their absence is told plainly."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from tophub_registry.errors import MissingExtra
from tophub_registry.frontends.mxnet import libraries
from tophub_registry.frontends.mxnet.names import NAMES


def python(code, *, path=None):
    """Run code in a process of its own, where every warning is an error and nothing was imported before."""
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, filter(None, [path, os.environ.get("PYTHONPATH")])))}
    command = [sys.executable, "-W", "error::UserWarning", "-c", code]
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture
def torch(tmp_path):
    """A package that looks like PyTorch 2, beside which gluoncv refuses to be imported."""
    folder = tmp_path / "torch"
    folder.mkdir()
    (folder / "__init__.py").write_text('__version__ = "2.5.1"\nclass Tensor: ...\n')
    return tmp_path


@pytest.mark.usefixtures("mxnet")
@pytest.mark.parametrize("before", ["", "import torch; "])
def test_gluoncv_is_imported_beside_pytorch(torch, before):
    code = (
        f"import sys; {before}before = sys.modules.get('torch')\n"
        "from tophub_registry.frontends.mxnet import libraries\n"
        "print(len(libraries.gluoncv().__version__) > 0)\n"
        "assert sys.modules.get('torch') is before\n"
        "import torch; print(torch.__version__)"
    )
    assert python(code, path=torch).split() == ["True", "2.5.1"]


@pytest.mark.parametrize("missing", ["mxnet", "gluoncv", "numpy"])
def test_a_missing_library_is_told_with_the_way_to_get_it(missing):
    """A process that can't import it, as one without the extra."""
    code = (
        f"import sys; sys.modules[{missing!r}] = None\n"
        "from tophub_registry.errors import MissingExtra\n"
        "from tophub_registry.frontends import read_model\n"
        "try: read_model('resnet18_v1')\n"
        "except MissingExtra as error: print(error)"
    )
    assert "needs the extra [mxnet]: " in python(code)
    assert MissingExtra("mxnet", ModuleNotFoundError(name=missing)).exit_code == 3


@pytest.mark.parametrize("name", ["resnet18v1", "resnet18_v1"])
def test_a_mistyped_name_asks_for_no_extra(name):
    code = (
        "import sys; sys.modules['mxnet'] = None\n"
        "from tophub_registry.errors import TophubError\n"
        "from tophub_registry.frontends import read_model\n"
        f"try: read_model({name!r})\n"
        "except TophubError as error: print(error)"
    )
    mistyped = "gluoncv has no model 'resnet18v1' (did you mean resnet18_v1"
    assert (mistyped in python(code)) == (name == "resnet18v1")


@pytest.mark.usefixtures("mxnet")
def test_the_names_are_those_that_gluoncv_has():
    assert set(libraries.gluoncv().model_zoo.get_model_list()) == NAMES
