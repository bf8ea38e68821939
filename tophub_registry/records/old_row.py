"""A row of log version 0.1, as TVM 0.6 and before wrote it.

Source of the format: `tvm.autotvm.record.encode` of TVM 0.4 to 0.6. The task is named after the TOPI function,
a key beside the config names the template, and the row repeats the workload as the key by which TVM 0.6 looks it
up.
"""

from __future__ import annotations

import json
from typing import Annotated, NamedTuple

from pydantic import BaseModel, ConfigDict, model_validator

from tophub_registry.records.record import JsonArray, Knob, KnobArray, Provenance, Result, Value, check_costs

OLD_LOG_VERSION = 0.1


class OldConfig(BaseModel):
    """A point of a config space.

    Attributes
    ----------
    i
        Its number in the space.
    t
        The template's key: `direct`, `winograd`, …; empty for some x86 and Intel tasks.
    c
        The code's hash, which was never used.
    e
        The entity.
    """

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid")

    i: int
    t: str
    c: str | None
    e: list[Annotated[Knob, KnobArray]]


class OldInput(NamedTuple):
    """What was measured, and with which config."""

    target: str
    task: str
    args: list[Value]
    kwargs: dict[str, Value]
    workload: list[Value] | None
    config: OldConfig


class OldRow(BaseModel):
    """One row: input, result, version."""

    model_config = ConfigDict(frozen=True, strict=True, extra="allow")

    i: Annotated[OldInput, JsonArray]
    r: Annotated[Result, JsonArray]
    v: float
    tophub: Provenance | None = None

    @model_validator(mode="after")
    def _check_costs(self) -> OldRow:
        check_costs(self.r)
        return self

    def to_json(self) -> str:
        """Return the row in the spelling of AutoTVM's own encoder."""
        return json.dumps(self.model_dump(exclude_unset=True))
