"""Level `space` of validation: whether a record's config is in its workload's space."""

from __future__ import annotations

from collections.abc import Iterator

from tophub_registry.errors import InputError
from tophub_registry.records.finding import Finding
from tophub_registry.records.record import Record
from tophub_registry.templates.registry import TEMPLATES, instantiate
from tophub_registry.templates.template import Template


def check_space(record: Record) -> Iterator[Finding]:
    """Yield what is wrong with a record's config; for a task without a template, a note that it was not checked.

    Clients use the entity, so a knob, kind or value outside the space is an error. A wrong index is a warning: TVM has
    enumerated spaces in different orders over the years.
    """
    if record.input.task not in TEMPLATES:
        yield Finding("unchecked", record.input.task, "note")
        return
    try:
        template = _templates.of(record)
        index = template.space.find(record.config.entity)
    except InputError as error:
        yield Finding("space", error.message, remedy="there is no such config: drop the row, or tune again")
        return
    if template.numbered and index != record.config.index:
        message = f"the index {record.config.index} belongs to another config; this config's is {index}"
        yield Finding("index", message, "warning", "clients use the entity")


class _Templates:
    """The templates of recent workloads: a log has many rows for each."""

    size = 256
    options = 1 << 18
    """The most options in all kept spaces: the memory that a log can take is bounded."""

    def __init__(self) -> None:
        self._by_workload: dict[str, Template] = {}
        self._options = 0

    def of(self, record: Record) -> Template:
        workload = record.workload
        if workload not in self._by_workload:
            template = instantiate(record.input.task, record.input.args)
            if len(self._by_workload) >= self.size or self._options >= self.options:
                self._by_workload.clear()
                self._options = 0
            self._by_workload[workload] = template
            self._options += sum(template.space.dimensions)
        return self._by_workload[workload]


_templates = _Templates()
