"""JSON Schema of everything that is published, written from the models into `schemas/`.

python tools/schemas.py            write them
python tools/schemas.py --check    exit with 1 if one of them is not what the models say
"""

from __future__ import annotations

import argparse
import inspect
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from tophub_registry.cost_model.model import CostModel
from tophub_registry.packages.index import Index
from tophub_registry.packages.lock import Lock
from tophub_registry.records.old_row import OldRow
from tophub_registry.records.record import Record
from tophub_registry.records.task import TaskFile

if TYPE_CHECKING:
    from pydantic import BaseModel

FOLDER = Path(__file__).resolve().parents[1] / "schemas"

MODELS: dict[str, type[BaseModel]] = {
    "row-v0.1.schema.json": OldRow,
    "row-v0.2.schema.json": Record,
    "tasks.schema.json": TaskFile,
    "index.schema.json": Index,
    "lock.schema.json": Lock,
    "cost_model.schema.json": CostModel,
}

_DIALECT = "https://json-schema.org/draft/2020-12/schema"


def schema(model: type[BaseModel]) -> str:
    """Return a model's schema, as it stands in its file."""
    value = {"$schema": _DIALECT, **model.model_json_schema(mode="validation")}
    _tidy(value)
    return json.dumps(value, indent=1, ensure_ascii=False) + "\n"


def _tidy(value: object) -> None:
    """Bring a schema to one form, whatever pydantic's version: no indentation in descriptions, no defaults."""
    for item in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        _tidy(item)
    if isinstance(value, dict):
        if isinstance(value.get("description"), str):
            value["description"] = inspect.cleandoc(value["description"])
        if value.get("additionalProperties") is True:
            del value["additionalProperties"]
        for key in ("minimum", "maximum"):
            if key in value:
                value[key] = int(value[key])


def main() -> None:
    """Write or check the schemas."""
    parser = argparse.ArgumentParser(
        description="JSON Schema of rows, tasks.json, index.json, tophub.lock and cost models."
    )
    parser.add_argument("--check", action="store_true", help="only say whether they are current")
    check = parser.parse_args().check
    stale = []
    FOLDER.mkdir(exist_ok=True)
    for name, model in MODELS.items():
        path, text = FOLDER / name, schema(model)
        if not path.is_file() or path.read_text(encoding="utf-8") != text:
            stale.append(name)
            if not check:
                path.write_text(text, encoding="utf-8")
    if stale and check:
        sys.exit(f"not current: {', '.join(stale)}; run python tools/schemas.py")
    print(f"written: {', '.join(stale)}" if stale else "all current")


if __name__ == "__main__":
    main()
