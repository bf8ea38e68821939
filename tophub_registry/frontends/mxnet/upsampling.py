"""Enlarging images by a whole factor, by repeating pixels or with a transposed convolution."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tvm import relax

from tophub_registry.frontends.mxnet.site import Expression, Site, constant
from tophub_registry.frontends.mxnet.translator import Translator

_op: Any = relax.op


def _upsampling(site: Site) -> Expression:
    """Enlarge one image, or several to the same size."""
    if site.attributes.word("sample_type", "nearest") == "bilinear":
        return _with_weight(site)
    images = [site.emit(_nearest(site, index), "image") for index in range(len(site))]
    first, *others = images
    if not others:
        return first
    if site.attributes.word("multi_input_mode", "concat") == "concat":
        return _op.concat(images, axis=1)
    for other in others:
        first = site.emit(_op.add(first, other), "sum")
    return first


def _nearest(site: Site, index: int) -> Expression:
    return _op.image.resize2d(
        site.tensor(index),
        site.shape[2:],
        layout="NCHW",
        method="nearest_neighbor",
        coordinate_transformation_mode="asymmetric",
        rounding_method="floor",
    )


def _with_weight(site: Site) -> Expression:
    """Enlarge each channel by a transposed convolution, whose kernel covers two pixels, `[channels, 1, k, k]`."""
    scale = site.attributes.number("scale", 1)
    padding = scale // 2
    return _op.nn.conv2d_transpose(
        site.tensor(0),
        constant(site.array(1)),
        strides=(scale, scale),
        padding=(padding,) * 4,
        groups=site.shape[1],
        data_layout="NCHW",
        kernel_layout="IOHW",
    )


TRANSLATORS: Mapping[str, Translator] = {"UpSampling": _upsampling}
