"""Untrusted documents become typed policies; every problem is reported at once, with its place."""
