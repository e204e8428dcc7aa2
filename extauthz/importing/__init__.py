"""Policies of other systems, read as documents of this one."""
