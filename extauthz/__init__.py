"""Envoy external authorization: verified tokens, role rules and attribute policies."""

__version__ = "0.2.0"
