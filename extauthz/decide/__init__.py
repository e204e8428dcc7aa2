"""The decision on one request: principal, target, rules. Pure and synchronous: no clock, no I/O."""
