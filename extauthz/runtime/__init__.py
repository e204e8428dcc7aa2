"""The composition root: builds, starts, supervises and drains; nothing else constructs."""
