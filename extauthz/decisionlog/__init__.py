"""The decision log: a bounded queue of decisions, written as JSON lines, with a count of those lost."""
