"""What a detector's second stage sees: regions of an image, each pooled to the same size.

A region is a row with the number of its image, which is ignored if it is negative, and the corners of a box.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tvm import relax

from tophub_registry.frontends.mxnet.functions import rounded
from tophub_registry.frontends.mxnet.site import Expression, Site, constant
from tophub_registry.frontends.mxnet.translator import Translator

_op: Any = relax.op


def _roi_align(site: Site) -> Expression:
    """Average bilinear samples in each bin of each region; with `aligned`, half a pixel further to the left and up."""
    attributes = site.attributes
    if attributes.flag("position_sensitive", default=False):
        site.refuse("that is position-sensitive")
    aligned = attributes.flag("aligned", default=False)
    images, corners, ignored = _regions(site)
    corners = site.emit(_op.multiply(corners, constant(float(attributes.text["spatial_scale"]))), "scaled")
    if aligned:
        corners = site.emit(_op.subtract(corners, constant(0.5)), "moved")
    pooled = _op.vision.roi_align(
        site.tensor(0),
        site.emit(_op.concat([images, corners], axis=1), "regions"),
        attributes.numbers("pooled_size"),
        1.0,
        attributes.number("sample_ratio", -1),
        aligned,
    )
    return _op.where(ignored, constant(0), site.emit(pooled, "pooled"))


def _roi_pooling(site: Site) -> Expression:
    """Take the maximum in each bin of each region, whose corners are rounded to whole pixels, halves away from zero."""
    images, corners, ignored = _regions(site)
    corners = site.emit(_op.multiply(corners, constant(float(site.attributes.text["spatial_scale"]))), "scaled")
    corners = site.emit(rounded(site, corners), "rounded")
    rows = site.emit(_op.concat([images, corners], axis=1), "regions")
    pooled = _op.vision.roi_pool(site.tensor(0), rows, site.attributes.numbers("pooled_size"), 1.0)
    return _op.where(ignored, constant(0), site.emit(pooled, "pooled"))


def _regions(site: Site) -> tuple[Expression, Expression, Expression]:
    """Return valid numbers of images `[regions, 1]`, corners `[regions, 4]`, and a mask of what is ignored."""
    count, rows = site.shape_of(1)[0], site.tensor(1)
    number = site.emit(_op.strided_slice(rows, [1], [0], [1]), "number")
    last = float(site.shape_of(0)[0] - 1)
    images = site.emit(_op.clip(number, 0, last), "images")
    corners = site.emit(_op.strided_slice(rows, [1], [1], [5]), "corners")
    ignored = site.emit(_op.reshape(_op.less(number, constant(0)), (count, 1, 1, 1)), "ignored")
    return images, corners, ignored


TRANSLATORS: Mapping[str, Translator] = {
    "ROIPooling": _roi_pooling,
    "_contrib_ROIAlign": _roi_align,
}
