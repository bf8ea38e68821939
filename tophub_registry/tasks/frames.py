"""Convolutions of volumes as convolutions of their frames, for which there are templates on every kind of target.

An output frame is computed from a few input frames. Either these become the channels of one image, one after the other,
so that a convolution of images adds them up, and the output frames are its batch: an input is copied as often as the
kernel is deep. Or each input frame is convolved with every tap of the kernel, and the results are added up: that moves
less where outputs are smaller than inputs. Values stay frames through elementwise operators, poolings within frames,
maxima over several, and concatenations of channels; whatever else reads them gets the volume.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from tvm import relax
from tvm.ir import GenericConst as Constant

from tophub_registry.tasks.reading import ELEMENTWISE, shape_of
from tophub_registry.tasks.spans import Span, over_time, spans
from tophub_registry.tasks.substitution import Rebuilding

_VOLUME = 5  # axes of a value: batch, channels, depth, height, width

_LAYOUTS = {"relax.nn.conv3d": ("NCDHW", "OIDHW"), "relax.nn.conv3d_transpose": ("NCDHW", "IODHW")}

_POOLS = {
    "relax.nn.max_pool3d": relax.op.nn.max_pool2d,
    "relax.nn.avg_pool3d": relax.op.nn.avg_pool2d,
}


def framed(function: relax.Function, *, by_tap: bool = True) -> relax.Function:
    """Return a function in normal form without convolutions of volumes; the same if it has none.

    Parameters
    ----------
    by_tap
        Whether to convolve with each tap and add up, where that moves less.
    """
    calls = [binding.value for block in function.body.blocks for binding in block.bindings]
    return _Framing(function, by_tap).result() if any(map(_is_convolution, calls)) else function


def _is_convolution(call: Any) -> bool:
    if not isinstance(call, relax.Call) or getattr(call.op, "name", "") not in _LAYOUTS:
        return False
    layouts = (str(call.attrs.data_layout), str(call.attrs.kernel_layout))
    return layouts == _LAYOUTS[call.op.name] and {str(each.ty.dtype) for each in (*call.args, call)} == {"float32"}


class _Framing(Rebuilding):
    """Rewrites a function: `new` are the values as they were, `_frames` those as `[N D, C, H, W]`."""

    def __init__(self, function: relax.Function, by_tap: bool) -> None:
        super().__init__(function)
        self._by_tap = by_tap
        self._frames: dict[Any, Any] = {}

    def rewrite(self, var: Any, value: Any) -> None:
        frames = self._framed(value) if isinstance(value, relax.Call) else None
        if frames is None:
            self.new[var] = self.emit(self.renewed(value), var.name)
        elif _is_convolution(value) and (over := self._spans(value)):
            taps = self.emit(frames, var.name)
            self._frames[var] = over_time(self.emit, taps, shape_of(var), over, relax.op.add, apart=True)
        else:
            self._frames[var] = self.emit(frames, var.name)

    def renewed(self, expression: Any) -> Any:
        """Return an expression of the volumes."""
        for var in relax.analysis.free_vars(expression):
            if var not in self.new:
                batch, channels, depth, *size = shape_of(var)
                apart = self.emit(relax.op.reshape(self._frames[var], (batch, depth, channels, *size)))
                self.new[var] = self.emit(relax.op.permute_dims(apart, (0, 2, 1, 3, 4)))
        return super().renewed(expression)

    def _framed(self, call: relax.Call) -> Any:
        """Return a call on frames; None if it stays as it is."""
        if _is_convolution(call):
            return self._convolution(call)
        name = getattr(call.op, "name", "")
        volumes = [each for each in relax.analysis.free_vars(call) if isinstance(each.ty, relax.TensorType)]
        if not any(each in self._frames for each in volumes):
            return None
        if name in ELEMENTWISE and all(_fits(each, call) for each in call.args):
            return relax.Call(call.op, [self._of(each) for each in call.args], call.attrs, call.ty_args)
        if name == "relax.concat" and _joins_channels(call):
            return relax.op.concat([self._of(each) for each in call.args[0].fields], 1)
        return self._pool(call) if name in _POOLS else None

    def _of(self, value: Any) -> Any:
        """Return the frames of a volume; a constant's one frame."""
        if isinstance(value, Constant):
            array = value.value.numpy()
            return relax.const(array.reshape(1, array.shape[-4], 1, 1) if array.size > 1 else array.reshape(()))
        if not isinstance(value, relax.Var):
            return value
        if value not in self._frames:
            batch, channels, depth, *size = shape_of(value)
            apart = self.emit(relax.op.permute_dims(self.renewed(value), (0, 2, 1, 3, 4)))
            self._frames[value] = self.emit(relax.op.reshape(apart, (batch * depth, channels, *size)))
        return self._frames[value]

    def _spans(self, call: relax.Call) -> list[Span]:
        return _spans_of_taps(call) if self._by_tap else []

    def _pool(self, call: relax.Call) -> Any | None:
        """Return a pooling of frames, within each and, if it is a maximum, over several of them; None for others."""
        a, within, over = call.attrs, _is_within_frames(call), _pooled_spans(call)
        if not within and not over:
            return None
        more = {"count_include_pad": bool(a.count_include_pad)} if "avg" in call.op.name else {}
        pooled = _POOLS[call.op.name](
            self._of(call.args[0]),
            pool_size=[*map(int, a.pool_size)][1:],
            strides=[*map(int, a.strides)][1:],
            padding=_inner(a.padding),
            dilation=[*map(int, a.dilation)][1:],
            ceil_mode=bool(a.ceil_mode),
            layout="NCHW",
            **more,
        )
        return pooled if within else over_time(self.emit, self.emit(pooled), shape_of(call), over, relax.op.maximum)

    def _convolution(self, call: relax.Call) -> Any:
        a = call.attrs
        data, weight = call.args
        transposed = "transpose" in call.op.name
        groups, taps = int(a.groups), shape_of(weight)[2]
        window = {
            "strides": [*map(int, a.strides)][1:],
            "padding": _inner(a.padding),
            "dilation": [*map(int, a.dilation)][1:],
            "groups": groups,
            "data_layout": "NCHW",
            "kernel_layout": "IOHW" if transposed else "OIHW",
        }
        if self._spans(call):
            filters, ins, _, *size = shape_of(weight)
            kernel = self._rearranged(weight, shape_of(weight), (2, 0, 1, 3, 4), (taps * filters, ins, *size))
            return relax.op.nn.conv2d(self._of(data), kernel, **window)
        images = self._together(self._of(data), _places(call, transposed=transposed), groups)
        if transposed:
            ins, filters, _, *size = shape_of(weight)
            split, order = (groups, ins // groups, filters, taps, *size), (0, 3, 1, 2, 4, 5)
            kernel = self._rearranged(weight, split, order, (ins * taps, filters, *size))
            window["output_padding"] = [*map(int, a.output_padding)][1:]
            return relax.op.nn.conv2d_transpose(images, kernel, **window)
        filters, ins, _, *size = shape_of(weight)
        kernel = self._rearranged(weight, shape_of(weight), (0, 2, 1, 3, 4), (filters, taps * ins, *size))
        return relax.op.nn.conv2d(images, kernel, **window)

    def _together(self, frames: Any, places: np.ndarray[Any, Any], groups: int) -> Any:
        """Return one image for each output frame: the channels of the frames in these places, -1 for an empty one.

        Parameters
        ----------
        places
            `[output frames, taps]`.
        groups
            Within each group of channels those of the first frame come first.
        """
        images, taps = places.shape
        _, channels, *size = shape_of(frames)
        if taps == 1 and len(places) == shape_of(frames)[0] and (places[:, 0] == np.arange(images)).all():
            return frames
        chosen = relax.op.take(frames, relax.const(np.maximum(places, 0).reshape(-1)), axis=0, mode="clip")
        if (places < 0).any():
            empty = relax.const((places < 0).reshape(-1, 1, 1, 1))
            chosen = relax.op.where(empty, relax.const(np.float32(0)), self.emit(chosen))
        if groups > 1 and taps > 1:
            grouped = relax.op.reshape(self.emit(chosen), (images, taps, groups, channels // groups, *size))
            chosen = relax.op.permute_dims(grouped, (0, 2, 1, 3, 4, 5))
        return self.emit(relax.op.reshape(self.emit(chosen), (images, taps * channels, *size)))

    def _rearranged(self, weight: Any, split: tuple[int, ...], order: tuple[int, ...], shape: tuple[int, ...]) -> Any:
        if isinstance(weight, Constant):
            array = weight.value.numpy().reshape(split).transpose(order)
            return relax.const(np.ascontiguousarray(array.reshape(shape)))
        apart = self.emit(relax.op.reshape(self.renewed(weight), split))
        return self.emit(relax.op.reshape(self.emit(relax.op.permute_dims(apart, order)), shape))


def _spans_of_taps(call: relax.Call) -> list[Span]:
    """Return the spans over which a convolution of frames adds up those convolved with each tap; empty if it does not.

    That is better where outputs are no larger than inputs: convolved frames are written and read once, while a
    convolution of frames together reads each as often as there are taps.
    """
    (_, ins, depth, *size), (filters, _, taps, *_) = map(shape_of, call.args)
    (_, _, outs, *wanted), a = shape_of(call), call.attrs
    if taps == 1 or "transpose" in call.op.name or int(a.groups) > 1 or int(a.strides[0]) > 1:
        return []
    if filters * math.prod(wanted) > ins * math.prod(size):
        return []
    return spans(outs, depth, taps=taps, dilation=int(a.dilation[0]), front=int(a.padding[0]))


def _pooled_spans(call: relax.Call) -> list[Span]:
    """Return the spans of a maximum over several frames; empty for other poolings."""
    a = call.attrs
    if a.layout != "NCDHW" or call.op.name != "relax.nn.max_pool3d":
        return []
    depth, outs = shape_of(call.args[0])[2], shape_of(call)[2]
    stride, dilation, front = (int(each[0]) for each in (a.strides, a.dilation, a.padding))
    return spans(outs, depth, taps=int(a.pool_size[0]), stride=stride, dilation=dilation, front=front)


def _fits(argument: Any, call: relax.Call) -> bool:
    """Return whether an elementwise operator's argument broadcasts over frames as it does over a volume."""
    if isinstance(argument, Constant):
        shape = shape_of(argument)
        axes = [axis for axis, size in enumerate(shape, _VOLUME - len(shape)) if size > 1]
        return len(shape) <= _VOLUME and axes in ([], [1])
    return not isinstance(argument, relax.Var) or shape_of(argument) == shape_of(call)


def _joins_channels(call: relax.Call) -> bool:
    parts, axis = call.args[0], call.attrs.axis
    known = isinstance(parts, relax.Tuple) and all(isinstance(each, relax.Var) for each in parts.fields)
    return known and axis is not None and int(axis) in (1, 1 - _VOLUME)


def _is_within_frames(call: relax.Call) -> bool:
    a = call.attrs
    first = [int(each[0]) for each in (a.pool_size, a.strides, a.dilation)]
    padding = [*map(int, a.padding)]
    return a.layout == "NCDHW" and first == [1, 1, 1] and padding[0] == padding[len(padding) // 2] == 0


def _inner(padding: Any) -> list[int]:
    """Return the padding of height and width: before both, then after both."""
    _, top, left, _, bottom, right = map(int, padding)
    return [top, left, bottom, right]


def _places(call: relax.Call, *, transposed: bool) -> np.ndarray[Any, Any]:
    """Return the input frames that each output frame is computed from, in the whole batch: `[output frames, taps]`."""
    a = call.attrs
    data, weight = call.args
    (batch, _, depth, *_), taps, outs = shape_of(data), shape_of(weight)[2], shape_of(call)[2]
    stride, dilation, front = int(a.strides[0]), int(a.dilation[0]), int(a.padding[0])
    frame, tap = np.arange(outs)[:, None], np.arange(taps)[None] * dilation
    if transposed:
        there, rest = np.divmod(frame + front - tap, stride)
        inside = (rest == 0) & (there >= 0) & (there < depth)
    else:
        there = frame * stride + tap - front
        inside = (there >= 0) & (there < depth)
    image = np.arange(batch)[:, None, None] * depth
    return np.where(inside, image + there, -1).reshape(batch * outs, taps)
