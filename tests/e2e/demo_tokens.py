"""Tokens of the demo's identity provider, over its own endpoint."""

import json
import urllib.parse
import urllib.request

from extauthz.demo.processes import LOOPBACK


def demo_token(provider_port: int, name: str) -> str:
    """Return a token of a demo account, whose password is its name."""
    form = {"grant_type": "password", "username": name, "password": name}
    url = f"http://{LOOPBACK}:{provider_port}/token"
    with urllib.request.urlopen(url, urllib.parse.urlencode(form).encode()) as answer:
        return str(json.load(answer)["access_token"])
