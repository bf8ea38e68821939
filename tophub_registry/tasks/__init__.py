"""A network's layers, and their AutoTVM tuning tasks."""
