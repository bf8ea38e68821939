"""The computation that direct convolutions share: padding, and the sum over channels and taps."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from tophub_registry.templates.workloads import Conv2d


class Term(NamedTuple):
    """What an output sums up over the kernel's taps.

    Attributes
    ----------
    axes
        The `te` reduction axes over input channels; none if an output reads one channel only.
    channel
        The data's indices besides row and column: the first goes before them, the others after them.
    weight
        The kernel's indices besides the tap's: two go before it, the others after it.
    """

    axes: tuple[Any, ...]
    channel: tuple[Any, ...]
    weight: tuple[Any, ...]


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


def convolve(
    w: Conv2d, padded: Any, kernel: Any, shape: tuple[int, ...], term: Callable[..., Term], *, name: str
) -> Any:
    """Return the `te` computation of a convolution.

    Parameters
    ----------
    w
        The workload, for its strides, dilation and taps.
    padded, kernel
        `te` tensors. Axes 2 and 3 are the padded data's rows and columns, and the kernel's taps.
    shape
        The output's: `[N, O, H, W]` or `[N, O/o, H, W, o]`.
    term
        The term for an output's channel, given as one index, or as those of the block and within the block.
    """
    from tvm import te

    rows = te.reduce_axis((0, w.kernel_height), name="kh")
    columns = te.reduce_axis((0, w.kernel_width), name="kw")

    def output(n: Any, c: Any, y: Any, x: Any, *v: Any) -> Any:
        axes, (chunk, *block), (o, i, *rest) = term(c, *v)
        row, column = y * w.strides[0] + rows * w.dilation[0], x * w.strides[1] + columns * w.dilation[1]
        product = padded(n, chunk, row, column, *block) * kernel(o, i, rows, columns, *rest)
        return te.sum(product, axis=[*axes, rows, columns])

    return te.compute(shape, output, name=name)
