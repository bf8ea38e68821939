"""Zeros around the data of a convolution."""

from __future__ import annotations

from typing import Any


def pad(data: Any, padding: tuple[int, int, int, int]) -> Any:
    """Return the `te` computation `data_pad`: `data` with zeros around its axes 2 and 3.

    Parameters
    ----------
    data
        A `te.Tensor`, `[N, C, H, W]` or `[N, C/c, H, W, c]`.
    padding
        Top, left, bottom and right.
    """
    from tvm import te, tirx

    top, left, bottom, right = padding
    n, c, height, width, *block = map(int, data.shape)

    def padded(n: Any, c: Any, y: Any, x: Any, *v: Any) -> Any:
        inside = []
        if top or bottom:
            inside += [y >= top, y < top + height]
        if left or right:
            inside += [x >= left, x < left + width]
        value = data(n, c, y - top, x - left, *v)
        return tirx.if_then_else(tirx.all(*inside), value, tirx.const(0, data.dtype)) if inside else value

    return te.compute((n, c, height + top + bottom, width + left + right, *block), padded, name="data_pad")
