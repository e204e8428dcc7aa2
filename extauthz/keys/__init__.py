"""Fetches and caches the verification keys of issuers, with limits on each fetch."""
