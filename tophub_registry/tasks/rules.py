"""Maps layers to templates, and to the arguments of their workloads in AutoTVM.

There is one table for each kind of target, in the order in which AutoTVM lists a layer's tasks. The rules are those of
`tvm.relay.op.strategy` and the argument lists those of `tvm.topi` in TVM 0.7 to 0.19, for float32 in the layout
NCHW; the tests compare them with what a real AutoTVM extracts. Templates of our own, which AutoTVM does not have, are
in a separate table.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NamedTuple

from tophub_registry.errors import UsageError
from tophub_registry.records.task import tensor
from tophub_registry.records.tensor_cores import TILE, groups_together, suits_warpgroups
from tophub_registry.tasks.layers import Convolution, Dense, Layer, MatrixProducts, Shape, TransposedConvolution

DTYPE = "float32"

Arguments = list[Any]

_ROW, _IMAGE, _VOLUME = 1, 2, 3  # the axes of a convolution
_WINOGRAD_KERNELS = range(3, 8)
_BLOCKED_WINOGRAD_KERNEL = 3
_LARGE_BATCH = 32
_VECTOR = 8  # lanes of AVX2


class Rule(NamedTuple):
    """A template, the layers that it covers, and the arguments of its task for such a layer."""

    template: str
    layer: type[Layer]
    serves: Callable[[Any], bool]
    arguments: Callable[[Any], Arguments]


def _plain(conv: Convolution) -> bool:
    return len(conv.strides) == _IMAGE and conv.groups == 1


def _depthwise(conv: Convolution) -> bool:
    """Return whether each channel is convolved with its own kernel."""
    return len(conv.strides) == _IMAGE and 1 < conv.groups == conv.data[1] == conv.kernel[0]


def _undilated_depthwise(conv: Convolution) -> bool:
    # With dilation AutoTVM has no task for a CPU.
    return _depthwise(conv) and set(conv.dilation) == {1}


def _dilated_depthwise(conv: Convolution) -> bool:
    return _depthwise(conv) and set(conv.dilation) != {1}


def _grouped(conv: Convolution) -> bool:
    return len(conv.strides) == _IMAGE and conv.groups > 1 and not _depthwise(conv)


def _in_wide_groups(conv: Convolution) -> bool:
    """Return whether each group has a few vectors of output channels."""
    filters = conv.kernel[0] // conv.groups
    return _grouped(conv) and filters % _VECTOR == 0 and filters > _VECTOR


def _with_several_groups(conv: Convolution) -> bool:
    return len(conv.strides) == _IMAGE and conv.groups > 1


def _volumetric(conv: Convolution) -> bool:
    return len(conv.strides) == _VOLUME


def _suits_winograd(conv: Convolution) -> bool:
    """Return whether the kernel is square in the two inner axes, which have neither stride nor dilation."""
    height, width = conv.kernel[-2:]
    return (
        conv.groups == 1
        and height == width
        and height in _WINOGRAD_KERNELS
        and set(conv.strides[-2:]) == {1}
        and set(conv.dilation[-2:]) == {1}
        and (_plain(conv) or _depth_suits_winograd(conv))
    )


def _depth_suits_winograd(conv: Convolution) -> bool:
    """Return whether AutoTVM's template, which transforms depth too, can compute what it has a task for."""
    return conv.dilation[0] == 1 and (conv.strides[0] == 1 or len(set(conv.kernel[-_VOLUME:])) > 1)


def _suits_blocked_winograd(conv: Convolution) -> bool:
    return _plain(conv) and _suits_winograd(conv) and set(conv.kernel[-2:]) == {_BLOCKED_WINOGRAD_KERNEL}


def _suits_pointwise(conv: Convolution) -> bool:
    return _plain(conv) and set(conv.kernel[-2:]) == {1} and not any(conv.padding)


def _suits_tiles(conv: Convolution) -> bool:
    return _plain(conv) and not _suits_pointwise(conv)


def _of_image(conv: TransposedConvolution) -> bool:
    return len(conv.strides) == _IMAGE


def _ungrouped(conv: TransposedConvolution) -> bool:
    return _of_image(conv) and conv.groups == 1


def _ungrouped_row(conv: TransposedConvolution) -> bool:
    return len(conv.strides) == _ROW and conv.groups == 1


def _suits_tensor_cores(conv: Convolution, vector: int) -> bool:
    # Channels that are not copied as they lie are gathered by rows of the kernel, whose pixels must be adjacent.
    return _plain(conv) and (conv.data[1] % vector == 0 or conv.kernel[-1] == 1 or conv.dilation[-1] == 1)


def _suits_warpgroups(conv: Convolution, vector: int) -> bool:
    if not _plain(conv) or conv.data[1] % vector:
        return False
    batch, channels, *size = conv.data
    filters, _, *kernel = conv.kernel
    front, back = conv.padding[:2], conv.padding[2:]
    sizes = zip(size, kernel, conv.strides, conv.dilation, front, back, strict=True)
    rows = batch * math.prod((s + f + b - (k - 1) * d - 1) // stride + 1 for s, k, stride, d, f, b in sizes)
    return suits_warpgroups(rows, filters, channels, math.prod(kernel), vector)


def _suits_dense_warpgroups(dense: Dense, vector: int) -> bool:
    rows, ins = dense.data
    return ins % vector == 0 and suits_warpgroups(rows, dense.weight[0], ins, 1, vector)


def _suits_tensor_cores_in_groups(conv: Convolution, vector: int) -> bool:
    (filters, channels, *_), groups = conv.kernel, conv.groups
    return _with_several_groups(conv) and groups_together(groups, filters // groups, channels, vector) > 0


def _suits_tensor_cores_in_phases(conv: TransposedConvolution, vector: int) -> bool:
    return _ungrouped(conv) and conv.data[1] % vector == 0


def _suits_dense_tensor_cores(dense: Dense, vector: int) -> bool:
    rows, ins = dense.data
    return rows >= TILE // 2 and ins % vector == 0


def _bound_by_weights(dense: Dense, vector: int) -> bool:
    # Many rows that do not suit tensor cores share what they read in AutoTVM's template for large batches.
    return not (_suits_dense_tensor_cores(dense, vector) or _large_batch(dense))


def _any(_: Layer) -> bool:
    return True


def _several_rows(dense: Dense) -> bool:
    # A single row is bound by the reading of its weights, whatever the template.
    return dense.data[0] > 1


def _large_batch(dense: Dense) -> bool:
    return dense.data[0] >= _LARGE_BATCH


def _window(conv: Convolution) -> Arguments:
    """Return data, kernel, strides, padding (before each axis, then after each) and dilation."""
    return [
        tensor(conv.data),
        tensor(conv.kernel),
        list(conv.strides),
        list(conv.padding),
        list(conv.dilation),
    ]


def _direct(conv: Convolution) -> Arguments:
    return [*_window(conv), DTYPE]


def _with_layouts(conv: Convolution) -> Arguments:
    return [*_window(conv), "NCHW", "NCHW", DTYPE]


def _with_groups(conv: Convolution) -> Arguments:
    return [*_window(conv), conv.groups, DTYPE]


def _transposed(conv: TransposedConvolution) -> Arguments:
    shapes = [tensor(conv.data), tensor(conv.kernel), list(conv.strides), list(conv.padding)]
    return [*shapes, DTYPE, list(conv.output_padding), conv.groups]


def _transposed_row(conv: TransposedConvolution) -> Arguments:
    # AutoTVM writes what its front ends do: one number where both ends are alike.
    padding = [*dict.fromkeys(conv.padding)]
    shapes = [tensor(conv.data), tensor(conv.kernel), list(conv.strides), padding]
    return [*shapes, DTYPE, list(conv.output_padding)]


def _transposed_as_direct(conv: TransposedConvolution) -> Arguments:
    """Return the arguments of the equivalent convolution: zeros between and around the data, and a flipped kernel."""
    batch, channels, *size = conv.data
    _, filters, *kernel = conv.kernel
    spread: Shape = tuple(
        (length - 1) * stride + 1 + 2 * (reach - 1) - front - back + extra
        for length, stride, reach, front, back, extra in zip(
            size, conv.strides, kernel, conv.padding[:2], conv.padding[2:], conv.output_padding, strict=True
        )
    )
    shapes = [tensor((batch, channels, *spread)), tensor((filters, channels, *kernel))]
    # The padding is already in the shape; AutoTVM writes the remaining zero padding with two elements, not four.
    return [*shapes, [1, 1], [0, 0], [1, 1], "NCHW", "NCHW", DTYPE]


def _dense(dense: Dense) -> Arguments:
    return [tensor(dense.data), tensor(dense.weight), None, DTYPE]


def _batched(product: MatrixProducts) -> Arguments:
    # AutoTVM's front ends transpose the second factor; the last two arguments say so.
    output = [*product.data[:2], product.weight[1]]
    return [tensor(product.data), tensor(product.weight), output, DTYPE, 0, 1]


RULES: Mapping[str, tuple[Rule, ...]] = {
    "llvm": (
        Rule("conv2d_NCHWc.x86", Convolution, _plain, _with_layouts),
        Rule("depthwise_conv2d_NCHWc.x86", Convolution, _undilated_depthwise, _with_layouts),
        Rule("group_conv2d_nchw.x86", Convolution, _grouped, _with_groups),
        Rule("conv3d_ncdhw.x86", Convolution, _volumetric, _with_groups),
        Rule("conv2d_NCHWc.x86", TransposedConvolution, _ungrouped, _transposed_as_direct),
        Rule("dense_nopack.x86", Dense, _any, _dense),
        Rule("dense_pack.x86", Dense, _any, _dense),
        Rule("batch_matmul.x86", MatrixProducts, _any, _batched),
    ),
    "cuda": (
        Rule("conv2d_nchw.cuda", Convolution, _plain, _direct),
        Rule("conv2d_nchw_winograd.cuda", Convolution, lambda c: _plain(c) and _suits_winograd(c), _direct),
        Rule("depthwise_conv2d_nchw.cuda", Convolution, _depthwise, _direct),
        Rule("group_conv2d_nchw.cuda", Convolution, _grouped, _with_groups),
        Rule("conv3d_ncdhw.cuda", Convolution, _volumetric, _with_groups),
        Rule("conv3d_ncdhw_winograd.cuda", Convolution, lambda c: _volumetric(c) and _suits_winograd(c), _with_groups),
        Rule("conv1d_transpose_nchw.cuda", TransposedConvolution, _ungrouped_row, _transposed_row),
        Rule("conv2d_transpose_nchw.cuda", TransposedConvolution, _of_image, _transposed),
        Rule("dense_small_batch.gpu", Dense, _any, _dense),
        Rule("dense_large_batch.gpu", Dense, _large_batch, _dense),
        Rule("batch_matmul.cuda", MatrixProducts, _any, _batched),
    ),
}
"""The rules by kind of target. A layer has one task for each rule that covers it."""

OWN_RULES: Mapping[str, tuple[Rule, ...]] = {
    "llvm": (
        Rule("conv2d_NCHWc_tiled.x86", Convolution, _suits_tiles, _with_layouts),
        Rule("depthwise_conv2d_NCHWc_dilated.x86", Convolution, _dilated_depthwise, _with_layouts),
        Rule("conv2d_NCHWc_winograd.x86", Convolution, _suits_blocked_winograd, _with_layouts),
        Rule("group_conv2d_NCHWc.x86", Convolution, _grouped, _with_groups),
        Rule("group_conv2d_NCHWc_tiled.x86", Convolution, _in_wide_groups, _with_groups),
        Rule("conv2d_NCHWc_pointwise.x86", Convolution, _suits_pointwise, _with_layouts),
        Rule("conv2d_transpose_NCHWc.x86", TransposedConvolution, _ungrouped, _transposed),
        Rule("dense_tiled.x86", Dense, _several_rows, _dense),
        Rule("batch_matmul_tiled.x86", MatrixProducts, _any, _batched),
    ),
    "cuda": (
        Rule("conv2d_nchw_tiled.cuda", Convolution, _plain, _direct),
        Rule("dense_tiled.cuda", Dense, _several_rows, _dense),
        Rule("batch_matmul_tiled.cuda", MatrixProducts, _any, _batched),
    ),
}
"""The rules of templates that AutoTVM does not have."""


FLOAT32 = "float32"


def _of_instructions(warps: Callable[..., bool], groups: Callable[..., bool]) -> dict[str, Callable[..., bool]]:
    """Return which layers suit tensor cores, by the instructions: of warps, and on Hopper of groups of them."""
    return {"mma": warps, "wgmma": groups}


PRECISE_RULES: Mapping[str, Mapping[str, tuple[Rule, ...]]] = {
    precision: {
        "cuda": (
            Rule(
                f"conv2d_transpose_nchw_mma_{precision}.cuda",
                TransposedConvolution,
                partial(_suits_tensor_cores_in_phases, vector=vector),
                _transposed,
            ),
            *(
                Rule(f"conv2d_nchw_{kind}_{precision}.cuda", Convolution, partial(suits, vector=vector), _direct)
                for kind, suits in _of_instructions(_suits_tensor_cores, _suits_warpgroups).items()
            ),
            Rule(
                f"group_conv2d_nchw_mma_{precision}.cuda",
                Convolution,
                partial(_suits_tensor_cores_in_groups, vector=vector),
                _with_groups,
            ),
            Rule("group_conv2d_nchw_last.cuda", Convolution, _with_several_groups, _with_groups),
            *(
                Rule(f"dense_{kind}_{precision}.cuda", Dense, partial(suits, vector=vector), _dense)
                for kind, suits in _of_instructions(_suits_dense_tensor_cores, _suits_dense_warpgroups).items()
            ),
            Rule(f"batch_matmul_mma_{precision}.cuda", MatrixProducts, _any, _batched),
            *(
                # TF32 takes as long to read as float32.
                [Rule("dense_small_batch_float16.gpu", Dense, partial(_bound_by_weights, vector=vector), _dense)]
                if precision == "float16"
                else []
            ),
        )
    }
    for precision, vector in (("3xtf32", 4), ("tf32", 4), ("float16", 8))  # which are copied at once
}
"""The rules of templates that compute with less than float32's precision, or for the layout of those that do, by
precision and kind of target."""

PRECISIONS = (FLOAT32, *PRECISE_RULES)

MORE_EXACT = {"tf32": "3xtf32"}
"""The precisions whose layers may be computed in another one, which is more exact and takes data in the same layout."""


def check_precision(precision: str, kind: str) -> None:
    """Raise UsageError unless a kind of target has a precision."""
    if precision not in PRECISIONS:
        raise UsageError(f"no such precision: {precision!r}", remedy=f"choose one of {', '.join(PRECISIONS)}")
    if precision != FLOAT32 and kind not in PRECISE_RULES[precision]:
        raise UsageError(
            f"a target of kind {kind} has no {precision}: it needs a GPU's tensor cores", remedy="--target cuda"
        )


def is_own(template: str) -> bool:
    """Return whether a template is one that AutoTVM does not have."""
    tables = (OWN_RULES, *PRECISE_RULES.values())
    return any(template == rule.template for table in tables for rules in table.values() for rule in rules)


def workloads(layer: Layer, kind: str, *, own: bool = False, precision: str = FLOAT32) -> list[tuple[str, Arguments]]:
    """Return a layer's workloads, each as task name and arguments; empty if no template covers it.

    Parameters
    ----------
    own
        Whether to include templates that AutoTVM does not have.
    precision
        One of `PRECISIONS`. Where templates of this precision cover the layer, only these count.

    Raises
    ------
    UsageError
        There are no rules for this kind of target.
    """
    precise = PRECISE_RULES[precision].get(kind, ()) if precision != FLOAT32 else ()
    if found := [(rule.template, rule.arguments(layer)) for rule in precise if _covers(rule, layer)]:
        return found
    return [
        (rule.template, rule.arguments(layer))
        for rule in (*rules_for(kind), *(OWN_RULES.get(kind, ()) if own else ()))
        if _covers(rule, layer)
    ]


def _covers(rule: Rule, layer: Layer) -> bool:
    return isinstance(layer, rule.layer) and rule.serves(layer)


def rules_for(kind: str) -> tuple[Rule, ...]:
    """Return the rules for a kind of target, or raise a UsageError that names the valid kinds."""
    try:
        return RULES[kind]
    except KeyError:
        raise UsageError(
            f"there are no templates for the target {kind!r}", remedy=f"choose one of {', '.join(RULES)}"
        ) from None
