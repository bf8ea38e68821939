"""Tuning: propose configs, measure them, update the cost model, write records. Needs the extra [tune]."""

from importlib.util import find_spec

from tophub_registry.errors import MissingExtra

for _name in ("numpy", "pebble", "threadpoolctl", "tvm", "xgboost"):
    if find_spec(_name) is None:
        raise MissingExtra("tune", ModuleNotFoundError(name=_name))
