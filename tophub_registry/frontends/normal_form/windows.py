"""Rules for pooling, whose windows get the layout NCHW, and for reductions, which precede permutations."""

from __future__ import annotations

from collections.abc import Mapping

from tvm import relax

from tophub_registry.frontends.normal_form.rewriter import Rewriter, Rule
from tophub_registry.frontends.normal_form.values import Pending, Permuted, Value

_POOLS = {
    "relax.nn.avg_pool2d": relax.op.nn.avg_pool2d,
    "relax.nn.max_pool2d": relax.op.nn.max_pool2d,
}
_REDUCTIONS = {"relax.max": relax.op.max, "relax.mean": relax.op.mean, "relax.sum": relax.op.sum}


def pool(rewriter: Rewriter, call: relax.Call, name: str) -> Value | None:
    """Bring a pooling into NCHW."""
    value, attrs = rewriter.argument(call.args[0]), call.attrs
    if not isinstance(value, Pending) or attrs.layout != "NHWC" or str(attrs.out_layout) not in {"", "NHWC"}:
        return None
    image = rewriter.plain(value.permuted((0, 3, 1, 2)) or rewriter.apart(value).permuted((0, 3, 1, 2)))
    more = {"count_include_pad": bool(attrs.count_include_pad)} if "avg" in call.op.name else {}
    pooled = _POOLS[call.op.name](
        image,
        pool_size=[*map(int, attrs.pool_size)],
        strides=[*map(int, attrs.strides)],
        padding=[*map(int, attrs.padding)],
        dilation=[*map(int, attrs.dilation)],
        ceil_mode=bool(attrs.ceil_mode),
        layout="NCHW",
        **more,
    )
    batch, height, width, channels = map(int, call.ty.shape)
    shape = (batch, channels, height, width)
    return Pending(rewriter.emit(pooled, name), shape, value.dtype, name, view=Permuted((0, 2, 3, 1)))


def reduction(rewriter: Rewriter, call: relax.Call, name: str) -> Value | None:
    """Reduce before the axes are permuted."""
    value = rewriter.argument(call.args[0])
    if not isinstance(value, Pending) or not isinstance(value.view, Permuted) or call.attrs.axis is None:
        return None
    settled = rewriter.settled(value)
    order = value.view.axes
    axes = [int(axis) % len(order) for axis in call.attrs.axis]
    inner = sorted(order[axis] for axis in axes)
    keeps = bool(call.attrs.keepdims)
    reduced = rewriter.emit(_REDUCTIONS[call.op.name](settled.base, inner, keeps), name)
    shape = tuple(map(int, reduced.ty.shape))
    if not keeps:
        left = [axis for axis in range(len(order)) if axis not in inner]
        order = tuple(left.index(axis) for place, axis in enumerate(order) if place not in axes)
    return Pending(reduced, shape, value.dtype, name).permuted(order)


RULES: Mapping[str, Rule] = {
    **dict.fromkeys(_POOLS, pool),
    **dict.fromkeys(_REDUCTIONS, reduction),
}
