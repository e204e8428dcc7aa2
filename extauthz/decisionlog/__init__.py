"""Bounded queue to JSON lines: what was decided, and how much of it could not be written."""
