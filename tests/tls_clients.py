"""Clients that trust one CA of the tests, alike on every interpreter."""

import ssl


def trusting(pem: str) -> ssl.SSLContext:
    """Return a context that trusts this CA alone; from Python 3.13 the default one is stricter."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(cadata=pem)
    return context
