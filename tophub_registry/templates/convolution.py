"""The computation that direct convolutions share: padding, and the sum over channels and taps."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from tophub_registry.templates.convolution_workloads import ConvNd


class Term(NamedTuple):
    """What an output sums up over the kernel's taps.

    Attributes
    ----------
    axes
        The `te` reduction axes over input channels; none if an output reads one channel only.
    channel
        The data's indices besides rows and columns: the first goes before them, the others after them.
    weight
        The kernel's indices besides the tap's: two go before it, the others after it.
    """

    axes: tuple[Any, ...]
    channel: tuple[Any, ...]
    weight: tuple[Any, ...]


def pad(data: Any, padding: Sequence[int]) -> Any:
    """Return the `te` computation `data_pad`: `data` with zeros around the axes that the kernel moves along.

    Parameters
    ----------
    data
        A `te.Tensor`, `[N, C, H, W]`, `[N, C/c, H, W, c]` or of another number of axes than height and width.
    padding
        Before each axis, then after each: top, left, bottom and right.
    """
    from tvm import te, tirx

    axes = len(padding) // 2
    before, after = padding[:axes], padding[axes:]
    n, c, *shape = map(int, data.shape)
    size, block = shape[:axes], shape[axes:]

    def padded(n: Any, c: Any, *places: Any) -> Any:
        given = [place - front for place, front in zip(places[:axes], before, strict=True)]
        inside = []
        for place, front, back, length in zip(places[:axes], before, after, size, strict=True):
            if front or back:
                inside += [place >= front, place < front + length]
        value = data(n, c, *given, *places[axes:])
        return tirx.if_then_else(tirx.all(*inside), value, tirx.const(0, data.dtype)) if inside else value

    whole = [sum(its) for its in zip(before, size, after, strict=True)]
    return te.compute((n, c, *whole, *block), padded, name="data_pad")


def convolve(
    w: ConvNd, padded: Any, kernel: Any, shape: tuple[int, ...], term: Callable[..., Term], *, name: str
) -> Any:
    """Return the `te` computation of a convolution.

    Parameters
    ----------
    w
        The workload, for its strides, dilation and taps.
    padded, kernel
        `te` tensors. The padded data's rows and columns, and the kernel's taps, are the axes from 2 on.
    shape
        The output's: `[N, O, H, W]` or `[N, O/o, H, W, o]`, or of another number of axes than height and width.
    term
        The term for an output's channel, given as one index, or as those of the block and within the block.
    """
    from tvm import te

    axes = len(w.taps)
    taps = [te.reduce_axis((0, size), name=f"k{each}") for size, each in zip(w.taps, "dhw"[-axes:], strict=True)]

    def output(n: Any, c: Any, *places: Any) -> Any:
        summed, (chunk, *block), (o, i, *rest) = term(c, *places[axes:])
        moved = zip(places[:axes], w.strides, taps, w.dilation, strict=True)
        seen = [place * stride + tap * dilation for place, stride, tap, dilation in moved]
        product = padded(n, chunk, *seen, *block) * kernel(o, i, *taps, *rest)
        return te.sum(product, axis=[*summed, *taps])

    return te.compute(shape, output, name=name)
