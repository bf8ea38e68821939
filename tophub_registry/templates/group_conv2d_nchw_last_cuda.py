"""`group_conv2d_nchw_last.cuda`: convolutions with groups, depthwise ones among them, with channels last.

Our own template, for what lies between layers on tensor cores. Such layers read and write much and compute little, so
nothing goes through shared memory: each thread computes `tile_f` channels of `tile_x` pixels of a row, neighbouring
threads have neighbouring channels, and what they read twice is in the cache. Data and output are `[N, 1, H, W, C]`,
weights `[height, width, channels of a group, filters]`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tophub_registry.templates import cuda
from tophub_registry.templates.convolution_workloads import Conv2d
from tophub_registry.templates.space import ConfigSpace, knob
from tophub_registry.templates.template import Tensor

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from tophub_registry.records.record import Config
    from tophub_registry.records.target import Target

_MOST_TERMS = 1024
"""Products of a thread up to which its sums are unrolled."""


class GroupConv2dNCHWLastCuda(cuda.CudaTemplate):
    """A grouped convolution on a CUDA device, with channels last."""

    task = "group_conv2d_nchw_last.cuda"
    parse = staticmethod(Conv2d.parse_grouped)
    channels_last = True
    workload: Conv2d

    def _space(self) -> ConfigSpace:
        w = self.workload
        return ConfigSpace(
            [
                knob(
                    "tile_f", [size for size in (1, 2, 4) if w.out_channels // w.groups % size == 0 or self._depthwise]
                ),
                knob("tile_x", [size for size in (1, 2, 3, 4, 5, 7, 8) if w.out_width % size == 0]),
                knob("threads", [32, 64, 128, 256]),
            ]
        )

    @property
    def _depthwise(self) -> bool:
        return self.workload.in_channels == self.workload.out_channels == self.workload.groups

    def limits(self, config: Config) -> cuda.CudaLimits:
        sums = config.value("tile_f") * config.value("tile_x")
        return cuda.CudaLimits((config.value("threads"), 1, 1), 0, sums=sums)

    def possible(self, config: Config) -> bool:
        size: int = config.value("tile_f")
        return self.workload.out_channels % size == 0

    def feasible(self, config: Config, target: Target) -> bool:
        return self.possible(config) and super().feasible(config, target)

    def default(self, target: Target) -> Config:  # noqa: ARG002  # the same for every device
        """Return the config whose threads read one channel each, of a few pixels."""
        few = max(size for size in (1, 2, 4) if self.workload.out_width % size == 0)
        return self.space.config_of({"tile_f": 1, "tile_x": few, "threads": 128})

    def suggestion(self, target: Target) -> Config:
        return self.default(target)

    def tensors(self, config: Config) -> list[Tensor]:  # noqa: ARG002  # the same for all
        w = self.workload
        _, (filters, channels, height, width) = w.inputs
        shapes = (
            (w.batch, 1, w.height, w.width, w.in_channels),
            (height, width, channels, filters),
            (w.batch, 1, w.out_height, w.out_width, w.out_channels),
        )
        return [Tensor(shape, w.dtype) for shape in shapes]

    def pack(self, config: Config, inputs: list[NDArray[Any]]) -> list[NDArray[Any]]:  # noqa: ARG002  # the same for all
        data, kernel = inputs
        return [data.transpose(0, 2, 3, 1)[:, None], kernel.transpose(2, 3, 1, 0)]

    def unpack(self, config: Config, output: NDArray[Any]) -> NDArray[Any]:  # noqa: ARG002  # the same for all
        return output[:, 0].transpose(0, 3, 1, 2)

    def computation(self, config: Config) -> list[Any]:
        from tvm import te, tirx

        w = self.workload
        data, kernel = self.placeholders(config)
        height, width, channels, filters = (int(size) for size in kernel.shape)
        ky, kx, c = (
            te.reduce_axis((0, size), name=name) for size, name in ((height, "ky"), (width, "kx"), (channels, "c"))
        )

        def term(n: Any, y: Any, x: Any, f: Any) -> Any:
            in_y = y * w.strides[0] + ky * w.dilation[0] - w.padding[0]
            in_x = x * w.strides[1] + kx * w.dilation[1] - w.padding[1]
            seen = data[n, 0, in_y, in_x, f // (filters // w.groups) * channels + c]
            if any(w.padding):
                inside = tirx.all(in_y >= 0, in_y < w.height, in_x >= 0, in_x < w.width)
                seen = tirx.if_then_else(inside, seen, tirx.const(0, w.dtype))
            return te.sum(seen * kernel[ky, kx, c, f], axis=[ky, kx, c])

        shape = w.batch, w.out_height, w.out_width, w.out_channels
        sums = te.compute(shape, term, name="sums")
        output = te.compute((w.batch, 1, *shape[1:]), lambda n, _, y, x, f: sums[n, y, x, f], name="output")
        return [data, kernel, output]

    def apply(self, sch: Any, config: Config) -> None:
        output, sums = sch.get_sblock("output"), sch.get_sblock("sums")
        sch.set_scope(sums, 0, "local")
        n, one, y, x, f = sch.get_loops(output)
        x, pixel = sch.split(x, [None, config.value("tile_x")])
        f, channel = sch.split(f, [None, config.value("tile_f")])
        sch.reorder(n, one, y, x, f, pixel, channel)
        block, thread = sch.split(sch.fuse(n, one, y, x, f), [None, config.value("threads")])
        cuda.bind(sch, blockIdx_x=block, threadIdx_x=thread)
        sch.unroll(pixel)
        sch.vectorize(channel)
        sch.compute_at(sums, thread, preserve_unit_loops=True)
        *_, pixel, channel, ky, kx, c = sch.get_loops(sums)
        sch.reorder(ky, kx, c, pixel, channel)
        taps = self.workload.kernel_height * self.workload.kernel_width
        each = self.limits(config).sums * (self.workload.in_channels // self.workload.groups)
        unrolled = [ky, kx, c] if taps * each <= _MOST_TERMS else [c] if each <= _MOST_TERMS else []
        for loop in (*unrolled, pixel, channel):
            sch.unroll(loop)  # which also removes the test for the first step
