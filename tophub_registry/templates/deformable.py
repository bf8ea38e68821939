"""The workload of a deformable convolution."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tophub_registry.errors import InputError
from tophub_registry.records.arguments import DEFORMABLE, shown
from tophub_registry.templates.convolution_workloads import Conv2d
from tophub_registry.templates.workloads import check_sizes, check_tensors, named

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from typing_extensions import Self


@dataclass(frozen=True)
class DeformableConv2d(Conv2d):
    """A two-dimensional convolution, NCHW times OIHW, whose taps are moved by offsets.

    Arguments of the task: `[data, offset, kernel, strides, padding, dilation, deformable groups, groups, dtype]`, with
    the padding as for `Conv2d` and a single group. The offsets are `[N, deformable groups * KH * KW * 2, OH, OW]`,
    down and then right, in pixels.

    Attributes
    ----------
    offset_groups
        Groups of input channels with the same offsets.
    """

    offset_groups: int = 1

    @classmethod
    def parse(cls, args: list[Any]) -> Self:
        """Read a task's arguments; InputError where they are not of that form."""
        what = "a deformable convolution"
        values = named(DEFORMABLE, args, what)
        (_, data, dtype), (_, offset, *_), (_, kernel, _) = (values[name] for name in ("data", "offset", "kernel"))
        if not len(data) == len(offset) == len(kernel) == 2 + cls.axes:
            raise InputError(f"not the arguments of {what}: {shown(args)}")
        strides, padding, dilation = (tuple(values[name]) for name in ("strides", "padding", "dilation"))
        shared = values["deformable_groups"]
        check_sizes(args, (*data, *offset, *kernel, *strides, *dilation, shared), padding)
        (n, ci, *size), (co, ci_kernel, *taps) = data, kernel
        types = {dtype, values["offset"][2], values["kernel"][2], values["out_dtype"] or dtype}
        if ci != ci_kernel or values["groups"] != 1 or ci % shared or len(types) > 1:
            raise InputError(f"the channels, groups or types of the tensors do not fit: {shown(args)}")
        conv = cls(n, ci, tuple(size), co, tuple(taps), strides, padding, dilation, dtype, offset_groups=shared)
        check_tensors(args, conv)
        if tuple(offset) != conv.inputs[1]:
            raise InputError(f"the offsets do not fit data and kernel: {shown(args)}")
        return conv

    @property
    def inputs(self) -> list[tuple[int, ...]]:
        """The shapes of data, offsets and kernel."""
        data, kernel = super().inputs
        tap_offsets = 2 * self.offset_groups * self.kernel_height * self.kernel_width
        return [data, (self.batch, tap_offsets, *self.out_size), kernel]

    def reference(self, inputs: list[NDArray[Any]]) -> NDArray[Any]:
        """Return the output of data, offsets and kernel: one matrix product per tap of the kernel."""
        import numpy as np

        data, offset, kernel = inputs
        shared, pixels = self.in_channels // self.offset_groups, (self.batch, -1, *self.out_size)
        moved = offset.reshape(self.batch, self.offset_groups, *self.taps, 2, *self.out_size)
        rows, columns = np.meshgrid(*map(np.arange, self.out_size), indexing="ij")
        out = np.zeros(self.output, data.dtype)
        for ky, kx in np.ndindex(self.taps):
            seen = np.zeros((self.batch, self.in_channels, *self.out_size), data.dtype)
            for group in range(self.offset_groups):
                down, right = moved[:, group, ky, kx].swapaxes(0, 1)
                y = rows * self.strides[0] - self.padding[0] + ky * self.dilation[0] + down
                x = columns * self.strides[1] - self.padding[1] + kx * self.dilation[1] + right
                channels = slice(group * shared, (group + 1) * shared)
                seen[:, channels] = _interpolated(data[:, channels], y, x).reshape(pixels)
            out += np.einsum("oc,ncyx->noyx", kernel[:, :, ky, kx], seen, optimize=True)
        return out


def _interpolated(image: NDArray[Any], y: NDArray[Any], x: NDArray[Any]) -> NDArray[Any]:
    """Return the values of `[N, C, H, W]` at places `[N, OH, OW]` between its pixels; 0 outside of the image."""
    import numpy as np

    *_, height, width = image.shape
    inside = (y >= 0) & (x >= 0) & (y < height) & (x < width)
    above, before = (np.clip(np.floor(place), 0, size - 1).astype(int) for place, size in ((y, height), (x, width)))
    below, after = np.minimum(above + 1, height - 1), np.minimum(before + 1, width - 1)
    down, right = (np.clip(place, 0, None) - first for place, first in ((y, above), (x, before)))
    of_image = np.arange(len(image))[:, None, None]
    value = np.zeros((len(image), *y.shape[1:], image.shape[1]), image.dtype)
    for row, of_row in ((above, 1 - down), (below, down)):
        for column, of_column in ((before, 1 - right), (after, right)):
            value += (inside * of_row * of_column)[..., None] * image[of_image, :, row, column]
    whole: NDArray[Any] = value.transpose(0, 3, 1, 2)
    return whole
