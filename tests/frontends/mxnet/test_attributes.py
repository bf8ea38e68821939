"""Attributes of MXNet's operators are read in every spelling that symbol files hold."""

from __future__ import annotations

import pytest

from tophub_registry.frontends.mxnet.attributes import Attributes


@pytest.mark.parametrize("spelling", ["(2, 1)", "[2,1]", "(2L, 1L)", "( 2 ,1 )"])
def test_tuples_in_every_spelling(spelling):
    assert Attributes({"stride": spelling}).numbers("stride") == (2, 1)


def test_what_is_not_there_has_its_default():
    attributes = Attributes({})
    assert attributes.numbers("pad", (0, 0)) == (0, 0)
    assert attributes.number("num_group", 1) == 1
    assert attributes.word("layout", "NCHW") == "NCHW"
    assert attributes.flag("no_bias", default=True)


@pytest.mark.parametrize("false", ["False", "false", "0"])
def test_truth_values_in_every_spelling(false):
    assert not Attributes({"flatten": false}).flag("flatten", default=True)


def test_none_stands_for_the_default():
    assert Attributes({"layout": "None"}).word("layout", "NCHW") == "NCHW"
