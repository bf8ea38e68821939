"""Which task and template of log version 0.1 correspond to which task of 0.2, and how their arguments do.

Source: the packages that upstream published in both versions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tophub_registry.records.arguments import Form
from tophub_registry.records.target import Target

if TYPE_CHECKING:
    from tophub_registry.records.record import Knob

CONV2D = Form(
    old=(
        "data kernel strides padding dilation layout out_dtype",
        "data kernel strides padding layout out_dtype",
    ),
    new=("data kernel strides padding dilation out_dtype",),
    workload="conv2d data kernel strides padding dilation layout out_dtype",
)

CONV2D_INT8 = Form(
    old=CONV2D.old,
    new=("data kernel strides padding dilation layout out_dtype",),
    workload=CONV2D.workload,
)

CONV2D_NCHWC = Form(
    old=(
        "data kernel strides padding dilation layout out_dtype",
        "data kernel strides padding dilation layout out_layout out_dtype",
        "data kernel in_channels kernel_size strides padding layout out_layout out_dtype",
    ),
    new=("data kernel strides padding dilation layout out_layout out_dtype",),
    workload="conv2d data kernel strides padding dilation layout out_dtype",
)

# The arguments in TVM 0.6's own package for x86.
CONV2D_X86 = Form(
    old=("data kernel in_channels kernel_size dilation strides padding layout out_dtype",),
    new=CONV2D_NCHWC.new,
    workload=CONV2D_NCHWC.workload,
)

CONV2D_INTEL = Form(
    old=tuple(reversed(CONV2D_NCHWC.old)),
    new=CONV2D_NCHWC.new,
    workload="conv2d_NCHWc data kernel strides padding layout out_dtype",
)

DEPTHWISE = Form(
    old=(
        "data kernel strides padding dilation out_dtype",
        "data kernel strides padding out_dtype",
    ),
    new=("data kernel strides padding dilation out_dtype",),
    workload="depthwise_conv2d_nchw data kernel strides padding dilation out_dtype",
)

DEPTHWISE_NCHWC = Form(
    old=DEPTHWISE.old,
    new=("data kernel strides padding dilation layout out_layout out_dtype",),
    workload=DEPTHWISE.workload,
)

GROUPED = Form(
    old=("data kernel strides padding dilation groups out_dtype",),
    new=("data kernel strides padding dilation groups out_dtype",),
    workload="group_conv2d_nchw data kernel strides padding dilation groups out_dtype",
)

# TVM 0.7 looks up a transposed convolution without output padding, later versions with it and with groups.
TRANSPOSED = Form(
    old=(
        "data kernel strides padding out_dtype output_padding",
        "data kernel strides padding out_dtype",
    ),
    new=(
        "data kernel strides padding out_dtype",
        "data kernel strides padding out_dtype output_padding",
        "data kernel strides padding out_dtype output_padding groups",
    ),
    workload="conv2d_transpose_nchw data kernel strides padding out_dtype",
)

DEFORMABLE = Form(
    old=("data offset kernel strides padding dilation deformable_groups groups out_dtype",),
    new=("data offset kernel strides padding dilation deformable_groups groups out_dtype",),
    workload="deformable_conv2d_nchw data offset kernel strides padding dilation deformable_groups groups out_dtype",
)

DENSE = Form(
    old=(
        "data kernel bias out_dtype",
        "data kernel bias",
    ),
    new=("data kernel bias out_dtype",),
    workload="dense data kernel bias out_dtype",
)


@dataclass(frozen=True)
class TaskRule:
    """Which task of log version 0.1 corresponds to which of 0.2.

    Attributes
    ----------
    old, templates
        The task in 0.1 and the template's keys, of which the first one is written back; TVM 0.5 left it empty
        for some tasks.
    families
        The targets that the rule is for, as `family` returns them.
    layout
        The data's layout, if the new task's name implies it; else None.
    new, form
        The task in 0.2, and how the arguments correspond.
    knobs
        If one template key means two schedules: the knobs that identify this one, a split with its number of
        parts.
    """

    old: str
    templates: str
    families: str
    layout: str | None
    new: str
    form: Form
    knobs: str = ""

    def holds_for(self, kin: str | None) -> bool:
        """Whether the rule is for such targets."""
        return kin in self.families.split()

    def knows(self, entity: Sequence[Knob]) -> bool:
        """Whether a config has the knobs that identify the schedule."""
        have = {knob.name: len(knob.value) if knob.kind == "sp" else 0 for knob in entity}
        for knob in self.knobs.split():
            name, _, parts = knob.partition("/")
            if name not in have or (parts and have[name] != int(parts)):
                return False
        return True


# fmt: off
RULES = (
    # Graphics processors: cuda, and those that use its templates.
    TaskRule("topi_nn_conv2d", "direct", "gpu", "NCHW", "conv2d_nchw.cuda", CONV2D),
    TaskRule("topi_nn_conv2d", "winograd", "gpu", "NCHW", "conv2d_nchw_winograd.cuda", CONV2D),
    TaskRule("topi_nn_conv2d", "int8", "gpu", None, "conv2d_NCHWc_int8.cuda", CONV2D_INT8),
    TaskRule("topi_nn_depthwise_conv2d_nchw", "direct", "gpu", None, "depthwise_conv2d_nchw.cuda", DEPTHWISE),
    TaskRule("topi_nn_conv2d_transpose_nchw", "direct", "gpu", None, "conv2d_transpose_nchw.cuda", TRANSPOSED),
    TaskRule("topi_nn_group_conv2d_nchw", "direct", "gpu", None, "group_conv2d_nchw.cuda", GROUPED),
    TaskRule("topi_nn_group_conv2d_nchw", "int8", "gpu", None, "group_conv2d_NCHWc_int8.cuda", GROUPED),
    TaskRule("topi_nn_deformable_conv2d_nchw", "direct", "gpu", None, "deformable_conv2d_nchw.cuda", DEFORMABLE),
    TaskRule("topi_nn_dense", "direct", "gpu", None, "dense_large_batch.gpu", DENSE, "tile_x tile_y tile_k"),
    TaskRule("topi_nn_dense", "direct", "gpu", None, "dense_small_batch.gpu", DENSE, "tile_k"),
    TaskRule("topi_nn_dense", "int8", "gpu", None, "dense_int8.cuda", DENSE),
    # ARM processors.
    TaskRule("topi_nn_conv2d", "direct", "arm_cpu", "NCHW", "conv2d_nchw_spatial_pack.arm_cpu", CONV2D),
    TaskRule("topi_nn_conv2d", "direct", "arm_cpu", "NHWC", "conv2d_nhwc_spatial_pack.arm_cpu", CONV2D),
    TaskRule("topi_nn_conv2d", "winograd", "arm_cpu", "NCHW", "conv2d_nchw_winograd.arm_cpu", CONV2D),
    TaskRule("topi_nn_depthwise_conv2d_nchw", "direct", "arm_cpu", None, "depthwise_conv2d_nchw.arm_cpu", DEPTHWISE),
    TaskRule("topi_nn_depthwise_conv2d_nchw", "contrib_spatial_pack", "arm_cpu", None,
             "depthwise_conv2d_nchw_spatial_pack.arm_cpu", DEPTHWISE),
    TaskRule("topi_nn_conv2d_transpose_nchw", "direct", "arm_cpu", None, "conv2d_transpose_nchw.arm_cpu", TRANSPOSED),
    # Mali and Bifrost.
    TaskRule("topi_nn_conv2d", "direct", "mali", "NCHW", "conv2d_nchw_spatial_pack.mali", CONV2D),
    TaskRule("topi_nn_conv2d", "winograd", "mali", "NCHW", "conv2d_nchw_winograd.mali", CONV2D),
    TaskRule("topi_nn_depthwise_conv2d_nchw", "direct", "mali", None, "depthwise_conv2d_nchw.mali", DEPTHWISE),
    TaskRule("topi_nn_dense", "direct", "mali", None, "dense.mali", DENSE),
    TaskRule("topi_nn_conv2d", "direct", "bifrost", "NCHW", "conv2d_nchw_spatial_pack.bifrost", CONV2D),
    TaskRule("topi_nn_conv2d", "winograd", "bifrost", "NCHW", "conv2d_nchw_winograd.bifrost", CONV2D),
    TaskRule("topi_nn_dense", "direct", "bifrost", None, "dense.bifrost", DENSE),
    # Intel's graphics processors, which had no template key.
    TaskRule("topi_intel_graphics_conv2d_NCHWc", "- direct", "intel_graphics", None,
             "conv2d_NCHWc.intel_graphics", CONV2D_INTEL),
    TaskRule("topi_nn_depthwise_conv2d_nchw", "direct", "intel_graphics", None,
             "depthwise_conv2d_nchw.intel_graphics", DEPTHWISE),
    # x86 processors, and dense layers on any processor.
    TaskRule("topi_x86_conv2d", "direct -", "x86", None, "conv2d_NCHWc.x86", CONV2D_X86),
    TaskRule("topi_x86_conv2d_NCHWc", "direct -", "x86", None, "conv2d_NCHWc.x86", CONV2D_NCHWC),
    TaskRule("topi_x86_conv2d_NCHWc_int8", "direct -", "x86", None, "conv2d_NCHWc_int8.x86", CONV2D_NCHWC),
    TaskRule("topi_x86_depthwise_conv2d_NCHWc_from_nchw", "direct -", "x86", None,
             "depthwise_conv2d_NCHWc.x86", DEPTHWISE_NCHWC),
    TaskRule("topi_nn_dense", "direct_pack", "x86 arm_cpu", None, "dense_pack.x86", DENSE),
    TaskRule("topi_nn_dense", "direct_nopack", "x86 arm_cpu", None, "dense_nopack.x86", DENSE),
    TaskRule("topi_nn_dense", "direct", "x86 arm_cpu", None, "dense_pack.x86", DENSE, "tile_x/3 tile_y/3 tile_k/2"),
    TaskRule("topi_nn_dense", "direct", "x86 arm_cpu", None, "dense_nopack.x86", DENSE, "tile_x/2 tile_y/2 tile_k/2"),
)
"""All rules; the first one that fits a row applies, in both directions. A template key `-` is empty."""
# fmt: on

_GPUS = frozenset({"cuda", "nvptx", "rocm", "opencl", "vulkan", "metal", "opengl"})
_DEVICES = frozenset({"arm_cpu", "mali", "bifrost", "intel_graphics"})


def family(target: Target) -> str | None:
    """Return whose templates TVM 0.6 used for a target, None if unknown."""
    device = target.attributes.get("device")
    if device is not None:
        return device if device in _DEVICES else None
    if target.kind in _GPUS:
        return "gpu"
    return "x86" if target.kind == "llvm" else None
