"""The template of each task: this project's, and those that other distributions add.

A new template of this project is one file and one line here. Another distribution adds one by an entry point in the
group `tophub_registry.templates`, whose name is the task and whose value is the class:

    [project.entry-points."tophub_registry.templates"]
    "dense_mine.x86" = "mypackage.templates:DenseMine"

Its tasks can be tuned from a `tasks.json`, and its records validated, replayed and looked up. Which layers of a model
have which tasks is decided by `tasks.rules`, which knows only this project's templates.
"""

from __future__ import annotations

import importlib
import logging
from collections import defaultdict
from collections.abc import Iterator, Mapping
from functools import cached_property
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from tophub_registry.errors import InputError
from tophub_registry.templates.template import Template

GROUP = "tophub_registry.templates"
"""The entry points' group."""

_OURS = {
    "batch_matmul_mma_3xtf32.cuda": "batch_matmul_mma_cuda.BatchMatmulMma3xTF32",
    "batch_matmul_mma_float16.cuda": "batch_matmul_mma_cuda.BatchMatmulMmaFloat16",
    "batch_matmul_mma_tf32.cuda": "batch_matmul_mma_cuda.BatchMatmulMmaTF32",
    "batch_matmul.cuda": "batch_matmul_cuda.BatchMatmulCuda",
    "batch_matmul.x86": "batch_matmul_x86.BatchMatmulX86",
    "batch_matmul_tensorcore.cuda": "batch_matmul_tensorcore_cuda.BatchMatmulTensorcoreCuda",
    "batch_matmul_tiled.cuda": "batch_matmul_tiled_cuda.BatchMatmulTiledCuda",
    "batch_matmul_tiled.x86": "batch_matmul_tiled_x86.BatchMatmulTiledX86",
    "conv1d_ncw.cuda": "conv1d_ncw_cuda.Conv1dNCWCuda",
    "conv1d_transpose_nchw.cuda": "conv1d_transpose_nchw_cuda.Conv1dTransposeNCHWCuda",
    "conv2d_NCHWc.x86": "conv2d_nchwc_x86.Conv2dNCHWcX86",
    "conv2d_NCHWc_pointwise.x86": "conv2d_nchwc_pointwise_x86.Conv2dNCHWcPointwiseX86",
    "conv2d_NCHWc_tiled.x86": "conv2d_nchwc_tiled_x86.Conv2dNCHWcTiledX86",
    "conv2d_NCHWc_winograd.x86": "conv2d_nchwc_winograd_x86.Conv2dNCHWcWinogradX86",
    "conv2d_nchw.cuda": "conv2d_nchw_cuda.Conv2dNCHWCuda",
    "conv2d_nchw_mma_3xtf32.cuda": "conv2d_nchw_mma_cuda.Conv2dNCHWMma3xTF32",
    "conv2d_nchw_mma_float16.cuda": "conv2d_nchw_mma_cuda.Conv2dNCHWMmaFloat16",
    "conv2d_nchw_mma_tf32.cuda": "conv2d_nchw_mma_cuda.Conv2dNCHWMmaTF32",
    "conv2d_nchw_winograd.cuda": "conv2d_nchw_winograd_cuda.Conv2dNCHWWinogradCuda",
    "conv2d_nhwc_tensorcore.cuda": "conv2d_nhwc_tensorcore_cuda.Conv2dNHWCTensorcoreCuda",
    "conv2d_transpose_nchw.cuda": "conv2d_transpose_nchw_cuda.Conv2dTransposeNCHWCuda",
    "conv2d_nchw_tiled.cuda": "conv2d_nchw_tiled_cuda.Conv2dNCHWTiledCuda",
    "conv2d_nchw_wgmma_3xtf32.cuda": "conv2d_nchw_mma_cuda.Conv2dNCHWWgmma3xTF32",
    "conv2d_nchw_wgmma_float16.cuda": "conv2d_nchw_mma_cuda.Conv2dNCHWWgmmaFloat16",
    "conv2d_nchw_wgmma_tf32.cuda": "conv2d_nchw_mma_cuda.Conv2dNCHWWgmmaTF32",
    "conv2d_transpose_nchw_mma_3xtf32.cuda": "conv2d_transpose_nchw_mma_cuda.Conv2dTransposeNCHWMma3xTF32",
    "conv2d_transpose_nchw_mma_float16.cuda": "conv2d_transpose_nchw_mma_cuda.Conv2dTransposeNCHWMmaFloat16",
    "conv2d_transpose_nchw_mma_tf32.cuda": "conv2d_transpose_nchw_mma_cuda.Conv2dTransposeNCHWMmaTF32",
    "conv2d_transpose_NCHWc.x86": "conv2d_transpose_nchwc_x86.Conv2dTransposeNCHWcX86",
    "conv3d_ncdhw.cuda": "conv3d_ncdhw_cuda.Conv3dNCDHWCuda",
    "conv3d_ncdhw_winograd.cuda": "conv3d_ncdhw_winograd_cuda.Conv3dNCDHWWinogradCuda",
    "conv3d_ncdhw.x86": "conv3d_ncdhw_x86.Conv3dNCDHWX86",
    "dense_large_batch.gpu": "dense_large_batch_gpu.DenseLargeBatchGPU",
    "dense_small_batch.gpu": "dense_small_batch_gpu.DenseSmallBatchGPU",
    "dense_small_batch_float16.gpu": "dense_small_batch_gpu.DenseSmallBatchFloat16GPU",
    "deformable_conv2d_nchw.cuda": "deformable_conv2d_nchw_cuda.DeformableConv2dNCHWCuda",
    "depthwise_conv2d_nchw.cuda": "depthwise_conv2d_nchw_cuda.DepthwiseConv2dNCHWCuda",
    "depthwise_conv2d_NCHWc.x86": "depthwise_conv2d_nchwc_x86.DepthwiseConv2dNCHWcX86",
    "depthwise_conv2d_NCHWc_dilated.x86": "depthwise_conv2d_nchwc_x86.DepthwiseConv2dNCHWcDilatedX86",
    "group_conv1d_ncw.cuda": "conv1d_ncw_cuda.GroupConv1dNCWCuda",
    "group_conv2d_nchw.cuda": "group_conv2d_nchw_cuda.GroupConv2dNCHWCuda",
    "group_conv2d_NCHWc.x86": "group_conv2d_nchwc_x86.GroupConv2dNCHWcX86",
    "group_conv2d_NCHWc_tiled.x86": "conv2d_nchwc_tiled_x86.GroupConv2dNCHWcTiledX86",
    "group_conv2d_nchw_last.cuda": "group_conv2d_nchw_last_cuda.GroupConv2dNCHWLastCuda",
    "group_conv2d_nchw_mma_3xtf32.cuda": "group_conv2d_nchw_mma_cuda.GroupConv2dNCHWMma3xTF32",
    "group_conv2d_nchw_mma_float16.cuda": "group_conv2d_nchw_mma_cuda.GroupConv2dNCHWMmaFloat16",
    "group_conv2d_nchw_mma_tf32.cuda": "group_conv2d_nchw_mma_cuda.GroupConv2dNCHWMmaTF32",
    "group_conv2d_nchw.x86": "group_conv2d_nchw_x86.GroupConv2dNCHWX86",
    "dense_mma_3xtf32.cuda": "dense_mma_cuda.DenseMma3xTF32",
    "dense_mma_float16.cuda": "dense_mma_cuda.DenseMmaFloat16",
    "dense_mma_tf32.cuda": "dense_mma_cuda.DenseMmaTF32",
    "dense_wgmma_3xtf32.cuda": "dense_mma_cuda.DenseWgmma3xTF32",
    "dense_wgmma_float16.cuda": "dense_mma_cuda.DenseWgmmaFloat16",
    "dense_wgmma_tf32.cuda": "dense_mma_cuda.DenseWgmmaTF32",
    "dense_nopack.x86": "dense_nopack_x86.DenseNopackX86",
    "dense_pack.x86": "dense_pack_x86.DensePackX86",
    "dense_tensorcore.cuda": "dense_tensorcore_cuda.DenseTensorcoreCuda",
    "dense_tiled.cuda": "dense_tiled_cuda.DenseTiledCuda",
    "dense_tiled.x86": "dense_tiled_x86.DenseTiledX86",
}
"""Task name -> module and class in this folder."""

_log = logging.getLogger(__name__)


class Templates(Mapping[str, type[Template]]):
    """The class of each task's template, imported on first use.

    Another distribution's template that can't be used is left out, with one warning that names it.
    """

    def __init__(self) -> None:
        self._loaded: dict[str, type[Template] | None] = {}

    def __getitem__(self, task: str) -> type[Template]:
        if task in _OURS:
            module, name = _OURS[task].split(".")
            template: type[Template] = getattr(importlib.import_module(f"{__package__}.{module}"), name)
            return template
        if task not in self._added:
            raise KeyError(task)
        if task not in self._loaded:
            self._loaded[task] = _load(self._added[task])
        if (added := self._loaded[task]) is None:
            raise KeyError(task)
        return added

    def __contains__(self, task: object) -> bool:
        return task in _OURS or super().__contains__(task)

    def __iter__(self) -> Iterator[str]:
        yield from _OURS
        yield from (task for task in self._added if task in self)

    def __len__(self) -> int:
        return sum(1 for _ in self)

    @cached_property
    def _added(self) -> dict[str, EntryPoint]:
        """Other distributions' entry points by task; those that clash with another template are left out."""
        named: defaultdict[str, list[EntryPoint]] = defaultdict(list)
        for point in entry_points(group=GROUP):
            if point not in named[point.name]:  # a folder may be on the path twice
                named[point.name].append(point)
        added = {}
        for task, points in named.items():
            if task in _OURS:
                _warn(points[0], "tophub-registry has a template of this name")
            elif len(points) > 1:
                _warn(points[0], f"{_origin(points[1])} has one of this name too")
            else:
                (added[task],) = points
        return added


def _load(point: EntryPoint) -> type[Template] | None:
    """Import a template; None, with a warning, if it is not one or can't be imported."""
    try:
        template = point.load()
    except Exception as error:  # noqa: BLE001  # somebody else's module raises what it likes
        _warn(point, f"{type(error).__name__}: {error}")
        return None
    if not (isinstance(template, type) and issubclass(template, Template)):
        _warn(point, f"{point.value} is not a class derived from Template")
    elif template.task != point.name:
        _warn(point, f"its class is for the task {template.task!r}")
    else:
        return template
    return None


def _warn(point: EntryPoint, reason: str) -> None:
    _log.warning("the template %r of %s is not used: %s", point.name, _origin(point), reason)


def _origin(point: EntryPoint) -> str:
    return f"the distribution {point.dist.name}" if point.dist else point.value


TEMPLATES = Templates()
"""Task name -> the class of its template."""


def template_class(task: str) -> type[Template]:
    """Return the class of a task's template, or raise an InputError if there is none."""
    try:
        return TEMPLATES[task]
    except KeyError:
        raise InputError(
            f"no template for the task {task!r}", remedy=f"there are {', '.join(sorted(TEMPLATES))}"
        ) from None


def instantiate(task: str, args: list[Any]) -> Template:
    """Return the template of a task for one workload.

    Raises
    ------
    InputError
        There is no template for the task, or the arguments do not fit it.
    """
    return template_class(task)(args)
