"""The arguments of `extauthz token`."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Final

from extauthz.commands.arguments.environment import IDENTITY
from extauthz.commands.arguments.parser import ALREADY_JSON, add_json, command, group
from extauthz.commands.imports import uninterrupted
from extauthz.commands.status import BAD_USAGE, fail

if TYPE_CHECKING:
    from extauthz.commands.arguments.parser import Commands

_SETTINGS: Final = "a file of the service's settings, lines of NAME=VALUE (default: the environment)"


def add(commands: "Commands") -> None:
    """Add the commands."""
    token = group(commands, "token", "judge tokens")
    verify = command(
        token, "verify", "one compact token per line in, one JSON verdict per line out", page="docs/tokens.md"
    )
    keys = verify.add_mutually_exclusive_group(required=True)
    keys.add_argument("--jwks", type=Path, metavar="FILE", help="the keys")
    keys.add_argument("--settings", type=Path, metavar="FILE", help=_SETTINGS)
    verify.add_argument("--issuer", help="the issuer that tokens must name")
    verify.add_argument("--audience", help="the audience that tokens must name")
    verify.add_argument("--signature-only", action="store_true", help="judge header, key and signature only")
    add_json(verify, ALREADY_JSON)
    verify.set_defaults(run=_verify, self_check="tokens")

    explain = command(
        token,
        "explain",
        "judge the token on stdin check by check, by a service's settings",
        page="docs/tokens.md",
        variables=IDENTITY,
        failed="the token is refused",
    )
    given = explain.add_mutually_exclusive_group()
    given.add_argument("--settings", type=Path, metavar="FILE", help=_SETTINGS)
    given.add_argument("--providers", type=Path, metavar="FILE", help="a file of IDENTITY_PROVIDERS alone")
    explain.add_argument(
        "--tenant", metavar="T", help="the tenant of the target, whose provider introspects opaque tokens"
    )
    add_json(explain)
    explain.set_defaults(run=_explain, self_check="tokens")


def _verify(parsed: argparse.Namespace) -> int:
    if parsed.settings is not None:
        from extauthz.commands import token_verify_service

        if parsed.issuer is not None or parsed.audience is not None or parsed.signature_only:
            return fail("--settings goes with no other option: the settings have them", BAD_USAGE)
        return token_verify_service.run(parsed.settings)
    from extauthz.commands import token_verify

    return token_verify.run(
        parsed.jwks, issuer=parsed.issuer, audience=parsed.audience, signature_only=parsed.signature_only
    )


def _explain(parsed: argparse.Namespace) -> int:
    with uninterrupted():
        from extauthz.commands import token_explain

    return token_explain.run(parsed.settings, parsed.providers, tenant=parsed.tenant, as_json=parsed.json)
