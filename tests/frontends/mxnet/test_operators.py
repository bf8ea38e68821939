"""MXNet's operators are read with their defaults and in every spelling that symbol files hold."""

from __future__ import annotations

import pytest

from tophub_registry.frontends.mxnet.operators import OPERATORS, Attributes
from tophub_registry.tasks.layers import Convolution, Dense, TransposedConvolution


def read(operator, data, weight, **attributes):
    return OPERATORS[operator]("layer", Attributes(attributes), data, weight)


def test_a_convolution_with_nothing_but_a_kernel():
    layer = read("Convolution", (1, 3, 8, 8), (4, 3, 3, 3), kernel="(3, 3)", num_filter="4")
    assert layer == Convolution("layer", "Convolution", (1, 3, 8, 8), (4, 3, 3, 3), (1, 1), (0, 0), (1, 1), 1)


@pytest.mark.parametrize("spelling", ["(2, 1)", "[2,1]", "(2L, 1L)", "( 2 ,1 )"])
def test_tuples_in_every_spelling(spelling):
    assert read("Convolution", (1, 3, 8, 8), (4, 3, 3, 3), stride=spelling).strides == (2, 1)


def test_a_convolution_over_one_axis_has_height_one():
    layer = read("Convolution", (1, 3, 9), (4, 3, 5), kernel="(5,)", stride="(2,)", pad="(1,)", dilate="(1,)")
    assert layer == Convolution("layer", "Convolution", (1, 3, 1, 9), (4, 3, 1, 5), (1, 2), (0, 1), (1, 1), 1)


@pytest.mark.parametrize("layout", ["NCHW", "None"])
def test_the_usual_layout(layout):
    assert read("Convolution", (1, 3, 8, 8), (4, 3, 3, 3), layout=layout) is not None


def test_another_layout_has_no_template():
    assert read("Convolution", (1, 8, 8, 3), (4, 3, 3, 3), layout="NHWC") is None


def test_a_transposed_convolution():
    layer = read(
        "Deconvolution", (1, 8, 4, 4), (8, 6, 4, 4), stride="(2, 2)", pad="(1, 1)", adj="(1, 0)", num_group="2"
    )
    expected = TransposedConvolution("layer", "Deconvolution", (1, 8, 4, 4), (8, 6, 4, 4), (2, 2), (1, 1), (1, 0), 2)
    assert layer == expected


@pytest.mark.parametrize("attributes", [{"dilate": "(2, 2)"}, {"target_shape": "(8, 8)"}, {"layout": "NHWC"}])
def test_a_transposed_convolution_that_autotvm_does_not_know(attributes):
    assert read("Deconvolution", (1, 8, 4, 4), (8, 6, 4, 4), **attributes) is None


def test_a_dense_layer_flattens_its_data():
    assert read("FullyConnected", (2, 512, 7, 7), (10, 25088)) == Dense(
        "layer", "FullyConnected", (2, 25088), (10, 25088)
    )


@pytest.mark.parametrize("false", ["False", "false", "0"])
def test_a_dense_layer_on_the_last_axis_only(false):
    assert read("FullyConnected", (2, 7, 512), (10, 512), flatten=false).data == (14, 512)
