"""Building and running kernels, on this machine or over RPC. Needs the extra [tune]."""

from tophub_registry.extras import require

require("tune")
