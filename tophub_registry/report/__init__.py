"""Tuning reports: the history of a tuning run, read from its logs, and its HTML page (extra [report])."""
