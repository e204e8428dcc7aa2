"""TLS of our clients: which certificates of servers they accept, alike on every interpreter."""

import ssl
from pathlib import Path


def client_context(ca_file: Path | None = None) -> ssl.SSLContext:
    """Return a context that trusts the system's CAs, and those of a PEM file in addition.

    Raises OSError or ssl.SSLError for a file that cannot be used.
    """
    # Not ssl.create_default_context: from Python 3.13 it sets VERIFY_X509_STRICT and refuses certificates
    # that earlier versions accept.
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.load_default_certs(ssl.Purpose.SERVER_AUTH)
    if ca_file is not None:
        context.load_verify_locations(ca_file)
    return context
