"""Which template stands behind a task's name. A new template is one file and one line here."""

from __future__ import annotations

import importlib
from typing import Any

from tophub_registry.errors import InputError
from tophub_registry.templates.template import Template

TEMPLATES = {
    "conv2d_NCHWc.x86": "conv2d_nchwc_x86.Conv2dNCHWcX86",
    "conv2d_NCHWc_winograd.x86": "conv2d_nchwc_winograd_x86.Conv2dNCHWcWinogradX86",
    "conv2d_nchw.cuda": "conv2d_nchw_cuda.Conv2dNCHWCuda",
    "conv2d_nchw_winograd.cuda": "conv2d_nchw_winograd_cuda.Conv2dNCHWWinogradCuda",
    "conv2d_transpose_nchw.cuda": "conv2d_transpose_nchw_cuda.Conv2dTransposeNCHWCuda",
    "dense_large_batch.gpu": "dense_large_batch_gpu.DenseLargeBatchGPU",
    "dense_small_batch.gpu": "dense_small_batch_gpu.DenseSmallBatchGPU",
    "depthwise_conv2d_nchw.cuda": "depthwise_conv2d_nchw_cuda.DepthwiseConv2dNCHWCuda",
    "depthwise_conv2d_NCHWc.x86": "depthwise_conv2d_nchwc_x86.DepthwiseConv2dNCHWcX86",
    "group_conv2d_nchw.cuda": "group_conv2d_nchw_cuda.GroupConv2dNCHWCuda",
    "group_conv2d_NCHWc.x86": "group_conv2d_nchwc_x86.GroupConv2dNCHWcX86",
    "group_conv2d_nchw.x86": "group_conv2d_nchw_x86.GroupConv2dNCHWX86",
    "dense_nopack.x86": "dense_nopack_x86.DenseNopackX86",
    "dense_pack.x86": "dense_pack_x86.DensePackX86",
}
"""Task name -> module and class in this folder."""


def template_class(task: str) -> type[Template]:
    """Return the class of a task's template, or raise an InputError where there is none."""
    if task not in TEMPLATES:
        raise InputError(f"no template for the task {task!r}", remedy=f"there are {', '.join(sorted(TEMPLATES))}")
    module, name = TEMPLATES[task].split(".")
    template: type[Template] = getattr(importlib.import_module(f"tophub_registry.templates.{module}"), name)
    return template


def instantiate(task: str, args: list[Any]) -> Template:
    """Return the template of a task for one workload.

    Raises
    ------
    InputError
        No template has that name, or the arguments do not fit it.
    """
    return template_class(task)(args)
