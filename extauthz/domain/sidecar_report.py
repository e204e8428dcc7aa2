"""The limits of what a sidecar reports to its control plane, which both sides keep."""

from typing import Final

PATH: Final = "/sidecar-reports"
MAX_TENANTS: Final = 1_000
"""Tenants in one report; a sidecar of more sends several."""
MAX_KEY_USES: Final = 2_000
"""Uses of service keys in one report; further ones are in the next report."""
