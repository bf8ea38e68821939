"""A whole model compiled with records. Needs the extra [compile]."""

from tophub_registry.extras import require

require("compile")
