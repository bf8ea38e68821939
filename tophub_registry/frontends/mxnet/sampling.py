"""Spatial transformers: images sampled at computed places. A grid has coordinates from -1 to 1, first x, then y."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from tvm import relax

from tophub_registry.frontends.mxnet.site import Expression, Site, constant
from tophub_registry.frontends.mxnet.translator import Translator
from tophub_registry.tasks.layers import Shape

_op: Any = relax.op


def _sampled(site: Site) -> Expression:
    """Sample bilinearly; outside of the image is 0."""
    return _at(site, site.tensor(1))


def _grid(site: Site) -> Expression:
    """Return the grid `[N, 2, H, W]` of an affine map, or the places to which a flow in pixels moves each pixel."""
    if site.attributes.word("transform_type", "affine") == "affine":
        return _affine(site, 0, site.shape[2:])
    height, width = site.shape[2:]
    pixels = np.stack(np.meshgrid(np.arange(width), np.arange(height)))[None]
    half = (np.array([width - 1, height - 1]) / 2).reshape(1, 2, 1, 1)
    moved = site.emit(_op.add(site.tensor(0), constant(pixels)), "moved")
    return _op.subtract(site.emit(_op.divide(moved, constant(half)), "scaled"), constant(1))


def _transformed(site: Site) -> Expression:
    return _at(site, site.emit(_affine(site, 1, site.shape[2:]), "grid"))


def _affine(site: Site, index: int, size: Shape) -> Expression:
    """Return the grid of affine maps, rows of six numbers: a product with the coordinates of the plain grid."""
    height, width = size
    y, x = np.meshgrid(np.linspace(-1, 1, height), np.linspace(-1, 1, width), indexing="ij")
    places = constant(np.stack([x.ravel(), y.ravel(), np.ones(height * width)]))
    batch = site.shape_of(index)[0]
    maps = site.emit(_op.reshape(site.tensor(index), (batch * 2, 3)), "maps")
    return _op.reshape(site.emit(_op.matmul(maps, places), "places"), (batch, 2, height, width))


def _at(site: Site, grid: Expression) -> Expression:
    return _op.image.grid_sample(site.tensor(0), grid, align_corners=True)


TRANSLATORS: Mapping[str, Translator] = {
    "BilinearSampler": _sampled,
    "GridGenerator": _grid,
    "SpatialTransformer": _transformed,
}
