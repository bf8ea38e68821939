"""The record: one measured configuration, in the shape of a row of AutoTVM's log version 0.2.

The models mirror the row, so that a row that is read and written again is the same JSON value, including unknown
keys. Source of the format: `tvm.autotvm.record.encode` of TVM 0.7 to 0.19.
"""

from __future__ import annotations

import json
import math
from typing import Annotated, Any, Literal, NamedTuple, get_type_hints

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    FiniteFloat,
    GetCoreSchemaHandler,
    GetJsonSchemaHandler,
    model_validator,
)
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

from tophub_registry.records.rank import Rank
from tophub_registry.records.target import Target

LOG_VERSION = 0.2

MAX_COST = 1e10
"""The highest cost, in seconds; AutoTVM writes 1e9 and related tools 1e10 for a measurement that never ended."""

EARLIEST = 1483228800.0
"""The earliest plausible timestamp, in seconds since 1970: the start of 2017, AutoTVM's first year. Tools that
record no time, such as AutoTVM's graph tuner, write 0 or -1."""

LATEST_AHEAD = 86400.0
"""How far a timestamp may be ahead of this machine's clock, in seconds."""

Value = Any
"""A JSON value: the arguments of a task nest lists, strings, numbers, booleans and null."""


def finite(value: Value) -> bool:
    """Whether no number inside a JSON value is infinite or not a number."""
    if isinstance(value, float):
        return math.isfinite(value)
    if isinstance(value, (list, tuple)):
        return all(map(finite, value))
    if isinstance(value, dict):
        return all(map(finite, value.values()))
    return True


class JsonArray:
    """Reads a named tuple from a JSON array only; pydantic alone would accept an object too."""

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        fields = get_type_hints(source, include_extras=True).values()
        array = core_schema.tuple_schema([handler.generate_schema(field) for field in fields], strict=False)
        named = {"description": source.__doc__, "names": source._fields}
        return core_schema.no_info_after_validator_function(source._make, array, metadata=named)

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        """Name the items of the array in JSON Schema."""
        array = handler(schema)
        metadata = schema["metadata"]
        items = [{"title": name, **item} for name, item in zip(metadata["names"], array["prefixItems"], strict=True)]
        return {**array, "prefixItems": items, "description": metadata["description"]}


class KnobArray:
    """Reads a knob from a JSON array, with a value that matches its kind."""

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, _handler: GetCoreSchemaHandler) -> CoreSchema:
        def array(kinds: list[str], value: CoreSchema) -> CoreSchema:
            return core_schema.tuple_schema(
                [core_schema.str_schema(), core_schema.literal_schema(kinds), value], strict=False
            )

        integers = core_schema.list_schema(core_schema.int_schema(strict=True), strict=False)
        words = core_schema.list_schema(core_schema.str_schema(strict=True), strict=False)
        knob = core_schema.union_schema(
            [array(["sp", "re"], integers), array(["ot"], core_schema.any_schema()), array(["an"], words)],
            mode="left_to_right",
            custom_error_type="knob",
            custom_error_message="A knob is [name, 'sp' or 're', integers], [name, 'an', words] or [name, 'ot', value]",
        )
        return core_schema.no_info_after_validator_function(source._make, knob)


class Input(NamedTuple):
    """What was measured: `[target, task, args, kwargs]`."""

    target: str
    task: str
    args: list[Value]
    kwargs: dict[str, Value]


class Knob(NamedTuple):
    """One decision of a config: `[name, kind, value]`.

    A split (`sp`) has its factors, outermost first, with -1 for "the rest"; a reorder (`re`) a permutation; an
    annotation (`an`) one word per axis; `ot` is any other option.
    """

    name: str
    kind: Literal["sp", "ot", "re", "an"]
    value: Value


class Config(BaseModel):
    """A point of a config space: its number in the space, and its knobs."""

    model_config = ConfigDict(frozen=True, strict=True, extra="allow")

    index: int
    code_hash: str | None
    entity: list[Annotated[Knob, KnobArray]]

    def value(self, name: str) -> Value:
        """Return the value of the knob `name`; KeyError if the config has none."""
        for knob in self.entity:
            if knob.name == name:
                return knob.value
        raise KeyError(name)


class Result(NamedTuple):
    """The result of measuring: `[costs, error_no, all_cost, timestamp]`.

    `costs` in seconds, one for each repeat; `error_no` of AutoTVM's MeasureErrorNo, 0 if the measurement
    succeeded; `all_cost` in seconds, including the build; `timestamp` in seconds since 1970.
    """

    costs: Annotated[list[Annotated[float, Field(ge=0, le=MAX_COST)]], Field(min_length=1)]
    error_no: int
    all_cost: FiniteFloat
    timestamp: FiniteFloat


def check_costs(result: Result) -> None:
    """Raise pydantic's error for a successful measurement that took no time."""
    if result.error_no == 0 and min(result.costs) <= 0:
        raise PydanticCustomError("cost", "A successful measurement takes more than 0 seconds")


class Conversion(BaseModel):
    """What a record was converted from.

    Attributes
    ----------
    log_version
        0.1.
    task
        The original task, arguments, keyword arguments, workload and template key, if converting back would
        spell them differently.
    tophub
        The original provenance, if converting back would lose some of it.
    """

    model_config = ConfigDict(frozen=True, strict=True, extra="allow")

    log_version: float
    task: list[Value] | None = None
    tophub: dict[str, Value] | None = None


class Provenance(BaseModel):
    """Where a record comes from: the extra key `tophub`, which AutoTVM clients ignore."""

    model_config = ConfigDict(frozen=True, strict=True, extra="allow")

    device: str | None = None
    """The device's own name: 'AMD EPYC 9254, 2 cores'."""
    threads: int | None = None
    """Threads of TVM's runtime, for a CPU."""
    weights: str | None = None
    """'cold' if each run read them from memory, as a model does; None if they may have been left in the cache by the
    run before, which is how AutoTVM measures."""
    slower_in: str | None = None
    """A model in which another config of the same log, whose cost is higher, was faster."""
    bind_threads: bool | None = None
    """Whether each thread was bound to a core."""
    peak_gflops: float | None = None
    """The device's measured peak: billions of float32 operations a second, in multiply-adds."""
    tuner: str | None = None
    """The tool with its version, and its search."""
    trials: int | None = None
    """How many configs of this workload had been measured when this record was written."""
    started: float | None = None
    """When the tuning run that measured it began, in seconds since 1970; the same for all rows of that run."""
    measured: str | None = None
    """When, in ISO 8601."""
    converted: Conversion | None = None
    """What the record was converted from, if it was."""
    revalidated: str | None = None
    """When the cost was measured again and confirmed, in ISO 8601."""
    rank: str | None = None
    """Who has confirmed the cost: 'replayed' or 'reproduced' (`Rank`); None if nobody has."""
    machine: str | None = None
    """An anonymous number of the machine, by which a second one is told from the first."""

    @property
    def where(self) -> str | None:
        """The device and, for a CPU, the threads: 'AMD EPYC, 2 cores, 1 thread'; None where the row does not say."""
        if self.device is None or self.threads is None:
            return self.device
        return f"{self.device}, {self.threads} thread{'' if self.threads == 1 else 's'}"


class Cost(NamedTuple):
    """A record's cost, in the order of preference.

    What was measured with weights in the cache can't be compared with what was measured without, and is worth less.
    Costs are compared by steps of 1.6 to 3.1 %, about as much as two measurements of the same kernel differ. Within a
    step the higher rank is preferred, then the lower cost. Steps don't depend on what is compared, so that the order
    of three costs is never circular.

    Attributes
    ----------
    cached
        Whether weights may have been in the cache.
    beaten
        Whether another config was faster in a whole model.
    step
        The step that the seconds are in.
    unconfirmed
        0 for the highest rank, more for lower ones.
    seconds
        The mean of the repeats.
    """

    cached: bool
    beaten: bool
    step: int
    unconfirmed: int
    seconds: float

    @property
    def conditions(self) -> tuple[bool, bool]:
        """What must be equal for the seconds to be comparable."""
        return self.cached, self.beaten

    @staticmethod
    def of(seconds: float, provenance: Provenance | None) -> Cost:
        """Return the cost of a record with this provenance."""
        if provenance is None:
            return Cost(True, False, _step(seconds), _unconfirmed(None), seconds)
        cached, beaten = provenance.weights != "cold", provenance.slower_in is not None
        return Cost(cached, beaten, _step(seconds), _unconfirmed(provenance.rank), seconds)


_STEPS = 32
"""Steps between a cost and twice as much."""


def _step(seconds: float) -> int:
    """Return the step that a cost is in, by exact arithmetic: it must be the same on every machine."""
    mantissa, exponent = math.frexp(seconds)
    return exponent * _STEPS + int(mantissa * 2 * _STEPS)


_UNCONFIRMED = {str(rank): int(max(Rank) - rank) for rank in Rank}


def _unconfirmed(rank: str | None) -> int:
    return _UNCONFIRMED.get(rank or "", _UNCONFIRMED[str(Rank.CLAIMED)])


class Record(BaseModel):
    """One row of a log."""

    model_config = ConfigDict(frozen=True, strict=True, extra="allow")

    input: Annotated[Input, JsonArray]
    config: Config
    result: Annotated[Result, JsonArray]
    version: float
    tvm_version: str
    tophub: Provenance | None = None

    @model_validator(mode="after")
    def _check_costs(self) -> Record:
        check_costs(self.result)
        return self

    @property
    def target(self) -> Target:
        """The target, parsed."""
        return Target.parse(self.input.target)

    @property
    def workload(self) -> str:
        """The task's name and arguments as compact JSON: equal strings are equal workloads."""
        return workload_key(self.input.task, self.input.args, self.input.kwargs)

    @property
    def valid(self) -> bool:
        """Whether the measurement succeeded."""
        return self.result.error_no == 0

    @property
    def cost(self) -> Cost:
        """The cost as it is compared with others'."""
        return Cost.of(self.mean_cost, self.tophub)

    @property
    def rank(self) -> Rank:
        """Who has confirmed the cost."""
        return Rank.parse(None if self.tophub is None else self.tophub.rank)

    @property
    def weights(self) -> str | None:
        """Where weights were when it was measured: see `Provenance.weights`."""
        return None if self.tophub is None else self.tophub.weights

    @property
    def mean_cost(self) -> float:
        """The mean of the repeats, in seconds; AutoTVM's `ApplyHistoryBest` compares it too."""
        return sum(self.result.costs) / len(self.result.costs)

    def to_json(self) -> str:
        """Return the row as AutoTVM's own encoder spells it, with a space after comma and colon."""
        return json.dumps(self.model_dump(exclude_unset=True))


def workload_key(task: str, args: list[Value], kwargs: dict[str, Value]) -> str:
    """Return the task's name and arguments as compact JSON with sorted keys."""
    return json.dumps([task, args, kwargs], separators=(",", ":"), sort_keys=True)
