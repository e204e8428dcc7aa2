"""Reads the member `introspection` of one entry in the file of `IDENTITY_PROVIDERS`.

Input: the `Fields` of the entry. Output: when tokens are introspected, and how the issuer is asked; each
problem is added to the fields. The files of secret and key must be usable.
"""

from collections.abc import Callable
from enum import StrEnum
from pathlib import Path
from typing import Final

from extauthz.compile.fields import Fields, shown
from extauthz.decide.tokens.keyring import IntrospectionRule
from extauthz.decide.tokens.provider_fields import ProviderFields
from extauthz.domain.tenancy import TenantBinding
from extauthz.keys.client_authentication import (
    ClientInvalidError,
    algorithms_of,
    read_private_key,
    read_secret,
)
from extauthz.keys.introspection_client import ClientAuth, IntrospectionClient

DEFAULT_CACHE_S: Final = 60
MAX_CACHE_S: Final = 3600
DEFAULT_TIMEOUT_S: Final = 1
MAX_TIMEOUT_S: Final = 3
_NAME: Final = "introspection"
_WEB: Final = ("https://", "http://")

ReadAddress = Callable[[str, Fields], str | None]
ReadPath = Callable[[str, Fields], Path | None]


class Introspects(StrEnum):
    """The tokens that an issuer is asked about."""

    OPAQUE = "opaque"
    ALL = "all"


class IntrospectionFields:
    """The member of one entry."""

    def __init__(
        self, fields: Fields, binding: TenantBinding, read_address: ReadAddress, read_path: ReadPath
    ) -> None:
        """Read from `fields`; the functions read a URL and the path of a file in any fields."""
        self._entry = fields
        self._binding = binding
        self._read_address = read_address
        self._read_path = read_path

    def read(self) -> tuple[IntrospectionRule, IntrospectionClient] | None:
        """Return when tokens are introspected and how; None without the member."""
        entry = self._entry
        value = entry.get(_NAME)
        if not entry.has(_NAME):
            return None
        if self._binding is TenantBinding.TOKEN:
            entry.note(
                _NAME, "cannot be used with TENANT_BINDING=token: an opaque token does not name its tenant"
            )
        if entry.has("issuer_template"):
            entry.note(_NAME, "is only used with issuer: an opaque token does not name its issuer")
        fields = Fields(value, entry.at(_NAME), entry.problems)
        values = ProviderFields(fields)
        endpoint = self._read_address("endpoint", fields)
        issuer = entry.get("issuer")
        if not fields.has("endpoint") and isinstance(issuer, str) and not issuer.startswith(_WEB):
            fields.note("endpoint", "is missing, and cannot be discovered: the issuer is not a URL")
        client = self._client(fields, values, endpoint)
        tokens = fields.choice("tokens", Introspects, default=Introspects.OPAQUE)
        max_age = fields.integer("cache", default=DEFAULT_CACHE_S, lowest=0, highest=MAX_CACHE_S)
        fields.done()
        return IntrospectionRule(float(max_age), every_token=tokens is Introspects.ALL), client

    def _client(self, fields: Fields, values: ProviderFields, endpoint: str | None) -> IntrospectionClient:
        client_id = values.text("client_id", required=True) or ""
        method = (
            fields.choice("auth_method", ClientAuth, default=ClientAuth.CLIENT_SECRET_BASIC)
            or ClientAuth.CLIENT_SECRET_BASIC
        )
        secret_file = self._read_path("client_secret_file", fields)
        key_file = self._read_path("key_file", fields)
        key_id, algorithm = values.text("key_id"), values.text("algorithm")
        audience = values.text("assertion_audience")
        timeout = fields.integer("timeout", default=DEFAULT_TIMEOUT_S, lowest=1, highest=MAX_TIMEOUT_S)
        if not fields.is_object:
            return IntrospectionClient(client_id, method)
        signs = method is ClientAuth.PRIVATE_KEY_JWT
        needed, unused = (
            ("key_file", ("client_secret_file",))
            if signs
            else ("client_secret_file", ("key_file", "key_id", "algorithm", "assertion_audience"))
        )
        if not fields.has(needed):
            fields.note(needed, f"is missing; {method.value} needs it")
        for name in unused:
            if fields.has(name):
                fields.note(name, f"is not used by {method.value}")
        _judge_files(fields, secret_file, key_file, algorithm)
        return IntrospectionClient(
            client_id,
            method,
            endpoint=endpoint,
            secret_file=secret_file,
            key_file=key_file,
            key_id=key_id,
            algorithm=algorithm,
            assertion_audience=audience,
            timeout=float(timeout),
        )


def _judge_files(
    fields: Fields, secret_file: Path | None, key_file: Path | None, algorithm: str | None
) -> None:
    """Add the problems of the contents of secret and key."""
    if secret_file is not None and secret_file.is_file():
        try:
            read_secret(secret_file)
        except ClientInvalidError as invalid:
            fields.note("client_secret_file", str(invalid).partition(": ")[2])
    if key_file is None or not key_file.is_file():
        return
    try:
        possible = algorithms_of(read_private_key(key_file))
    except ClientInvalidError as invalid:
        fields.note("key_file", str(invalid).partition(": ")[2])
        return
    if algorithm is not None and algorithm not in possible:
        fields.note("algorithm", f"found {shown(algorithm)}, the key signs with {', '.join(possible)}")
