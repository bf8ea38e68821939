"""Gluoncv models and MXNet symbols, and the tuning tasks in them. Needs the extra [models]."""
