"""What a template is: the config space, the kernels and the layouts of one workload."""

from __future__ import annotations

from abc import ABC, abstractmethod
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

from tophub_registry.templates.space import ConfigSpace

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from tophub_registry.records.record import Config
    from tophub_registry.records.target import Target
    from tophub_registry.templates.workloads import Workload


class Tensor(NamedTuple):
    """The shape and type of an argument of a kernel."""

    shape: tuple[int, ...]
    dtype: str


_UNTUNED = 1e11
"""Assumed floating-point operations in a second of a kernel without a record: about a default config's on two cores."""


class RegisterTile(NamedTuple):
    """The outputs that a processor's kernel accumulates in registers at once.

    Attributes
    ----------
    channels
        Channels of a block of the output.
    pixels
        Pixels, for each of which all these channels are accumulated.
    """

    channels: int
    pixels: int


class Template(ABC):
    """What a task's name stands for, for one workload.

    A kernel takes its tensors in the layout of its config (as AutoTVM measures it, packing weights at compile
    time); `pack` and `unpack` convert from and to the model's layout.

    Parameters
    ----------
    args
        The task's arguments.

    Raises
    ------
    InputError
        The arguments do not fit the template.
    """

    task: ClassVar[str]
    """The task's name: `conv2d_NCHWc.x86`."""
    parse: ClassVar[staticmethod[[list[Any]], Workload]]
    """Reads the task's arguments; each template also declares the type of its workload."""
    workload: Workload
    """The task's arguments, parsed."""
    forgiving: ClassVar[bool] = False
    """Whether other workloads' configs beat the default one even if their tiles must change to fit."""

    numbered: ClassVar[bool] = True
    """Whether a config has the same index in every version, as in AutoTVM's spaces; some of ours have grown."""

    untuned_share: ClassVar[float] = 1.5
    """The time of a processor's default config, relative to the best that tuning finds: the geometric means of trials
    are 1.3 to 1.7 for AutoTVM's templates, and 1.1 to 1.2 where the default was made to suit the registers."""

    weights: ClassVar[int] = 1
    """The number of inputs, from the last one back, that are weights: a model reads them from memory."""

    tolerance: ClassVar[float] = 2e-3
    """The largest error of a kernel, relative to the output's largest number: that of Winograd's transforms."""

    pass_config: ClassVar[Mapping[str, bool]] = {}
    """What TVM must be told when it compiles the kernel: options of a `tvm.transform.PassContext`."""

    channels_last: ClassVar[bool] = False
    """Whether data and output have their channels last: `[N, 1, H, W, C]`."""

    @property
    def reads_plain(self) -> bool:
        """Whether the data are `[N, C, H, W]` nevertheless."""
        return False

    packs_late: ClassVar[bool] = True
    """Whether weights that are known only when the model runs can be packed then: `pack` only reshapes and transposes,
    and takes little time beside the kernel."""

    def __init__(self, args: list[Any]) -> None:
        self.args = args
        self.workload = self.parse(args)

    def __reduce__(self) -> tuple[Any, ...]:
        # A worker is sent the workload, not the enumerated space.
        return (type(self), (self.args,))

    @property
    def flop(self) -> int:
        """Floating-point operations of the workload: those of the direct computation (`records.flops`)."""
        return self.workload.flop

    @cached_property
    def space(self) -> ConfigSpace:
        """All configs; plain Python, without TVM."""
        return self._space()

    @abstractmethod
    def _space(self) -> ConfigSpace: ...

    def feasible(self, config: Config, target: Target) -> bool:  # noqa: ARG002  # most templates have no such limits
        """Return whether a config is worth building: the target can run it, and it is not hopelessly slow there."""
        return True

    def fixed(self, target: Target) -> Mapping[str, int]:  # noqa: ARG002  # most templates leave all to the search
        """Return the knobs that a search does not vary, as for `ConfigSpace.where`."""
        return {}

    def possible(self, config: Config) -> bool:  # noqa: ARG002  # most templates compute any config of their space
        """Return whether a config gives a kernel that some device can run; a search tries the `feasible` ones."""
        return True

    def untuned_cost(self, config: Config) -> float:  # noqa: ARG002  # most templates assume the same of any config
        """Return the assumed time of a config without a record in seconds, on two cores of a processor."""
        return self.flop / _UNTUNED

    def register_tile(self, config: Config) -> RegisterTile | None:  # noqa: ARG002  # most templates have no such tile
        """Return the tile accumulated in registers, if it decides how well a kernel suits a processor."""
        return None

    def saving(self, config: Config) -> float:  # noqa: ARG002  # most templates compute what the definition says
        """Return how many times fewer multiplications a kernel needs than the direct computation; 1 unless Winograd."""
        return 1.0

    @abstractmethod
    def default(self, target: Target) -> Config:
        """Return AutoTVM's fallback config, for workloads without a record."""

    def runs_on(self, target: Target) -> bool:  # noqa: ARG002  # most run on every device of their kind
        """Return whether a target's device has the instructions, as far as the target says which device it is."""
        return True

    def promising(self, target: Target) -> bool:  # noqa: ARG002  # AutoTVM's templates come first, and better ones later
        """Return whether the default config is expected to beat those of a layer's templates that come before it."""
        return True

    def suggestion(self, target: Target) -> Config:
        """Return a config to use without any records: decent everywhere, and runnable on any device."""
        return self.default(target)

    def estimate(self, config: Config) -> float | None:  # noqa: ARG002  # most templates know no better than a cost model
        """Return a config's time in seconds on a large GPU, estimated from its tiles alone; None if there is no way."""
        return None

    def likely(self, target: Target, count: int) -> list[Config]:  # noqa: ARG002  # as above
        """Return some configs with the least estimated times, unlike each other; none without an estimate."""
        return []

    def tensors(self, config: Config) -> list[Tensor]:  # noqa: ARG002  # the model's layout has no config
        """Return the kernel's arguments, inputs then output; in the model's layout unless a template packs them."""
        return [Tensor(shape, self.workload.dtype) for shape in (*self.workload.inputs, self.workload.output)]

    def pack(self, config: Config, inputs: list[NDArray[Any]]) -> list[NDArray[Any]]:  # noqa: ARG002
        """Convert the inputs from the model's layout to the kernel's; often they are the same.

        Configs with the same `tensors` have the same layout.
        """
        return inputs

    def unpack(self, config: Config, output: NDArray[Any]) -> NDArray[Any]:  # noqa: ARG002
        """Convert the output from the kernel's layout to the model's."""
        return output

    def placeholders(self, config: Config) -> list[Any]:
        """Return the inputs, `data` and `kernel`, as `te` tensors for the `computation`."""
        from tvm import te

        names = ("data", "kernel")
        *given, _ = self.tensors(config)
        return [te.placeholder(t.shape, t.dtype, name=name) for t, name in zip(given, names, strict=True)]

    @abstractmethod
    def computation(self, config: Config) -> list[Any]:
        """Return the kernel's tensors as `te` expressions: the inputs, then the output."""

    @abstractmethod
    def apply(self, sch: Any, config: Config) -> None:
        """Schedule the computation's blocks in a `tvm.s_tir.Schedule` according to the config.

        The function may contain more: elementwise operators after the computation can be inlined into its last
        block afterwards.
        """

    def schedule(self, config: Config) -> Any:
        """Return the scheduled kernel `main`, a `tvm.s_tir.Schedule`, as far as schedules go; see `finished`."""
        from tvm import s_tir, te

        function = te.create_prim_func(self.computation(config)).with_attr("global_symbol", "main")
        sch = s_tir.Schedule(function, debug_mask="none")
        self.apply(sch, config)
        return sch

    def kernel(self, config: Config) -> Any:
        """Return a `tvm.IRModule` with the kernel `main` as it is compiled: scheduled and finished."""
        import tvm

        from tophub_registry.templates.finished import finished

        return tvm.IRModule({"main": finished(self.schedule(config).mod["main"])})
