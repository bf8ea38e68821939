"""MXNet, for the tests that need it."""

from __future__ import annotations

import importlib.util

import pytest


@pytest.fixture(scope="session")
def mxnet():
    """Skip where MXNet can't be: it ends at Python 3.12."""
    if importlib.util.find_spec("mxnet") is None or importlib.util.find_spec("gluoncv") is None:
        pytest.skip("MXNet and gluoncv are not installed")
    from tophub_registry.frontends.mxnet import libraries

    libraries.gluoncv()
    return libraries.mxnet()
