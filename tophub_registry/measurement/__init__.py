"""Building and running kernels, on this machine or over RPC."""
