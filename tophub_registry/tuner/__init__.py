"""Tuning: propose configs, build and measure them, learn, write records. Needs the extra [tune]."""

from tophub_registry.extras import require

require("tune")
