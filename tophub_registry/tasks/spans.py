"""Spans of time: neighbouring frames of a film that are computed alike from a few frames each."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from tvm import relax

from tophub_registry.tasks.reading import shape_of


class Span(NamedTuple):
    """Output frames, one after the other, for which the same taps meet an input frame.

    Attributes
    ----------
    length
        How many they are.
    taps
        The taps, each with the input frame that it meets for the first of them.
    stride
        How far apart the input frames of neighbouring output frames are.
    """

    length: int
    taps: list[tuple[int, int]]
    stride: int


def spans(outs: int, depth: int, *, taps: int, stride: int = 1, dilation: int = 1, front: int = 0) -> list[Span]:
    """Return the spans of a window that moves over frames; empty if some output frames meet only padding.

    Parameters
    ----------
    outs, depth
        The number of output and input frames.
    front
        The number of frames of padding before the first.
    """
    found: list[Span] = []
    for out in range(outs):
        places = [(tap, out * stride + tap * dilation - front) for tap in range(taps)]
        inside = [(tap, there) for tap, there in places if 0 <= there < depth]
        if not inside:
            return []
        if found and [tap for tap, _ in found[-1].taps] == [tap for tap, _ in inside]:
            found[-1] = found[-1]._replace(length=found[-1].length + 1)
        else:
            found.append(Span(1, inside, stride))
    return found


def over_time(
    emit: Callable[[Any], Any],
    frames: Any,
    shape: tuple[int, ...],
    over: Sequence[Span],
    combine: Callable[[Any, Any], Any],
    *,
    apart: bool = False,
) -> Any:
    """Return the output frames, `[N D', C, H, W]`, each a sum or the like of several input frames.

    Parameters
    ----------
    emit
        Binds an expression to a new variable.
    frames
        `[N D, C, H, W]`.
    shape
        The output's as a volume, `[N, C, D', H, W]`.
    combine
        Adds up two frames, or takes their maximum.
    apart
        Whether each tap has channels of its own, `[N D, taps C, H, W]`.
    """
    batch, channels, outs, *size = shape
    count, every, *_ = shape_of(frames)
    one = batch == 1  # then the frames are the batch of images, and stay in whatever layout they have
    volume = frames if one else emit(relax.op.reshape(frames, (batch, count // batch, every, *size)))
    depth = 0 if one else 1

    def computed(span: Span) -> Any:
        total = None
        for tap, first in span.taps:
            begin = tap * channels if apart else 0
            last = first + (span.length - 1) * span.stride
            axes, start, stop = [depth, depth + 1], [first, begin], [last + 1, begin + channels]
            part = emit(relax.op.strided_slice(volume, axes, start, stop, [span.stride, 1]))
            total = part if total is None else emit(combine(total, part))
        return total

    parts = [computed(span) for span in over]
    whole = parts[0] if len(parts) == 1 else emit(relax.op.concat(parts, depth))
    return whole if one else emit(relax.op.reshape(whole, (batch * outs, channels, *size)))
