"""Whole models timed against other frameworks."""
