"""Tuning: propose configs, measure them, update the cost model, write records. Needs the extra [tune]."""

from tophub_registry.extras import require

require("tune")
