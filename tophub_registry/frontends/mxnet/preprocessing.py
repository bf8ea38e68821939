"""What gluon's transforms do to images before a network: images `[height, width, channels]`, or a batch of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from tvm import relax

from tophub_registry.frontends.mxnet.site import Array, Expression, Site, constant
from tophub_registry.frontends.mxnet.translator import Translator

_op: Any = relax.op


def _to_tensor(site: Site) -> Expression:
    """Put channels first, and divide by 255."""
    batch = [*range(len(site.shape) - 3)]
    order = [*batch, *(len(batch) + axis for axis in (2, 0, 1))]
    return _op.multiply(site.emit(_op.permute_dims(site.tensor(0), order), "turned"), constant(1 / 255))


def _normalize(site: Site) -> Expression:
    """Standardize each channel of `[channels, height, width]`, or of a batch of that."""
    mean, deviation = _by_channel(site, "mean", 0), _by_channel(site, "std", 1)
    scaled = site.emit(_op.multiply(site.tensor(0), constant(1 / deviation)), "scaled")
    return _op.subtract(scaled, constant(mean / deviation))


def _by_channel(site: Site, name: str, default: float) -> Array:
    words = site.attributes.text.get(name, str(default)).strip("()[] ").split(",")
    return np.array([float(word) for word in words if word.strip()]).reshape(-1, 1, 1)


def _crop(site: Site) -> Expression:
    rank, number = len(site.shape), site.attributes.number
    begin = [number("y", 0), number("x", 0)]
    end = [begin[0] + number("height", 1), begin[1] + number("width", 1)]
    return _op.strided_slice(site.tensor(0), [rank - 3, rank - 2], begin, end)


TRANSLATORS: Mapping[str, Translator] = {
    "_image_crop": _crop,
    "_image_normalize": _normalize,
    "_image_to_tensor": _to_tensor,
}
