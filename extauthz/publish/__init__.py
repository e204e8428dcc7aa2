"""The current snapshot of every tenant, and what refreshes it."""
