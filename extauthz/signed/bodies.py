"""The bodies that a head names: gzip-compressed JSON, addressed by the SHA-256 of the compressed bytes.

Input: a tenant's documents, changes and configuration as `storage.feed` returns them. Output: the same on
the other side. Errors: `HeadRejectedError`.

INVARIANT: a body is unpacked only when its digest is the signed one, and never to more than the signed size.
"""

import gzip
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import replace
from hashlib import sha256
from typing import Any, Final, cast

from extauthz.decide.tokens.registered_provider import read_registered
from extauthz.domain.service_key import IdentityKey, row_id
from extauthz.domain.tenant_config import ProviderKeys, TenantConfig, TenantIdentityProvider
from extauthz.signed.head import Body, HeadRejectedError
from extauthz.storage.encoding import decode_stored, encode_json
from extauthz.storage.feed import RowChange, TenantChange, TenantDocuments, change_rows
from extauthz.storage.write import CONFIG_KINDS
from extauthz.telemetry.counts import HeadRejection

MAX_CONFIG_BYTES: Final = 16 * 2**20
MAX_CHANGE_BYTES: Final = 64 * 2**20
"""The largest configuration and change that is read, in bytes of JSON."""
_LEVEL: Final = 6
_DIGEST_BYTES: Final = 32
_TABLES: Final = ("resources", "role_rules", "role_bindings", "attribute_policies")
_TABLE_OF: Final = {
    "resource": "resources",
    "role_rule": "role_rules",
    "role_binding": "role_bindings",
    "attribute_policy": "attribute_policies",
}


def packed(document: object) -> tuple[Body, bytes]:
    """Return a body and its octets. The same document gives the same octets."""
    content = encode_json(document).encode()
    octets = gzip.compress(content, _LEVEL, mtime=0)
    return Body(sha256(octets).hexdigest(), len(octets), len(content)), octets


def is_intact(body: Body, octets: bytes) -> bool:
    """Tell whether octets are those of a body."""
    return len(octets) == body.size and sha256(octets).hexdigest() == body.sha256


def check_digest(body: Body, octets: bytes) -> None:
    """Compare octets with the body that a head names. Raises HeadRejectedError."""
    if not is_intact(body, octets):
        raise HeadRejectedError(HeadRejection.DIGEST, f"the body {body.sha256} does not match its digest")


def unpacked(body: Body, octets: bytes) -> object:
    """Return the JSON document of a body whose octets match; fractions are `Decimal`.

    Raises:
        HeadRejectedError: they do not unpack to the signed size, or it is not JSON.
    """
    try:
        reader = zlib.decompressobj(wbits=31)
        content = reader.decompress(octets, body.content_size + 1)
        if len(content) != body.content_size or not reader.eof or reader.unused_data:
            raise HeadRejectedError(HeadRejection.BODY, "the body does not unpack to its signed size")
        return decode_stored(content.decode())
    except (zlib.error, ValueError, RecursionError) as error:
        raise HeadRejectedError(HeadRejection.BODY, "the body is not gzip-compressed JSON") from error


def whole_document(documents: TenantDocuments) -> dict[str, object]:
    """Return the JSON document of a tenant's policies."""
    return {
        "tenant": documents.tenant,
        "revision": documents.revision,
        **{name: list(getattr(documents, name)) for name in _TABLES},
    }


def read_whole(document: object, tenant: str, revision: int, config: TenantConfig) -> TenantDocuments:
    """Return a tenant's policies from their JSON document.

    Raises:
        HeadRejectedError: they are of another tenant or revision, or the document has another form.
    """
    members = _of(document, tenant, revision)
    tables: dict[str, Any] = {}
    for name in _TABLES:
        rows = members.get(name)
        if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
            raise HeadRejectedError(HeadRejection.BODY, f"the body has no list {name!r} of objects")
        tables[name] = rows
    return TenantDocuments(
        tenant, "suspended" if config.suspended else "active", revision, **tables, config=config
    )


def change_document(change: TenantChange) -> dict[str, object]:
    """Return the JSON document of a change, whose `rows` are known."""
    return {
        "tenant": change.tenant,
        "predecessor": change.predecessor,
        "revision": change.revision,
        # What changed of the configuration is in a body of its own.
        "changes": [_entry(row) for row in change.rows or () if row.kind not in CONFIG_KINDS],
    }


def read_change(document: object, tenant: str, predecessor: int, revision: int) -> tuple[RowChange, ...]:
    """Return the rows of a change from its JSON document. Raises HeadRejectedError."""
    members = _of(document, tenant, revision)
    rows = change_rows(members.get("changes"))
    if members.get("predecessor") != predecessor or rows is None:
        raise HeadRejectedError(HeadRejection.BODY, "the body is not the change that the head names")
    return rows


def followed(documents: TenantDocuments, rows: Iterable[RowChange], revision: int) -> TenantDocuments:
    """Return policies after changes, which lead to a revision; the rows are not examined."""
    tables: dict[str, dict[str, Any]] = {
        name: {str(row["id"]): row for row in getattr(documents, name)} for name in _TABLES
    }
    for change in rows:
        if change.kind not in _TABLE_OF:
            continue
        table = tables[_TABLE_OF[change.kind]]
        if change.row is None:
            table.pop(change.id, None)
        else:
            table[change.id] = change.row
    rows_of: dict[str, Any] = {name: list(table.values()) for name, table in tables.items()}
    return replace(documents, revision=revision, **rows_of)


def config_document(tenant: str, config: TenantConfig) -> dict[str, object]:
    """Return the JSON document of a tenant's configuration. It has digests of keys, and no key."""
    return {
        "tenant": tenant,
        "suspended": config.suspended,
        "hosts": list(config.hosts),
        "providers": [{"id": each.id, "document": dict(each.document)} for each in config.providers],
        "identity_keys": [
            {
                "id": key.id,
                "sha256": key.digest.hex(),
                "domain": key.domain,
                "expires_at": key.expires_at,
            }
            for key in config.identity_keys
        ],
        "keys": [
            {"issuer": each.issuer, "fetched_at": each.fetched_at, "jwks": dict(each.jwks)}
            for each in config.keys
        ],
    }


def read_config(document: object, tenant: str) -> TenantConfig:
    """Return a tenant's configuration from its JSON document. Raises HeadRejectedError."""
    members = _of(document, tenant, None)
    try:
        return TenantConfig(
            # Fail closed: anything but false suspends the tenant.
            suspended=members["suspended"] is not False,
            hosts=tuple(_texts(members["hosts"])),
            providers=tuple(_provider(each, tenant) for each in cast("list[Any]", members["providers"])),
            identity_keys=tuple(_key(each, tenant) for each in cast("list[Any]", members["identity_keys"])),
            keys=tuple(_provider_keys(each) for each in cast("list[Any]", members["keys"])),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise HeadRejectedError(
            HeadRejection.BODY, "the body of the configuration lacks a member, or one has a wrong type"
        ) from error


def config_of(body: Body, octets: bytes, tenant: str) -> TenantConfig:
    """Return a tenant's configuration from the octets of its body. Raises HeadRejectedError."""
    check_digest(body, octets)
    return read_config(unpacked(body, octets), tenant)


def _of(document: object, tenant: str, revision: int | None) -> Mapping[str, object]:
    if not isinstance(document, dict) or document.get("tenant") != tenant:
        raise HeadRejectedError(HeadRejection.BODY, f"the body is not of the tenant {tenant!r}")
    if revision is not None and document.get("revision") != revision:
        raise HeadRejectedError(HeadRejection.BODY, f"the body is not of the revision {revision}")
    return document


def _entry(row: RowChange) -> dict[str, object]:
    if row.row is not None:
        return {"op": "upsert", "kind": row.kind, "id": row.id, "row": row.row}
    return {"op": "delete", "kind": row.kind, "id": row.id}


def _texts(value: object) -> list[str]:
    if not isinstance(value, list) or not all(isinstance(each, str) for each in value):
        raise ValueError
    return value


def _provider(value: Mapping[str, Any], tenant: str) -> TenantIdentityProvider:
    document = value["document"]
    if not isinstance(document, dict) or isinstance(read_registered(document, tenant), list):
        raise ValueError
    return TenantIdentityProvider(tenant, str(value["id"]), document)


def _provider_keys(value: Mapping[str, Any]) -> ProviderKeys:
    issuer, fetched_at, jwks = value["issuer"], value["fetched_at"], value["jwks"]
    if not (isinstance(issuer, str) and isinstance(fetched_at, int) and isinstance(jwks, dict)):
        raise ValueError
    return ProviderKeys(issuer, fetched_at, jwks)


def _key(value: Mapping[str, Any], tenant: str) -> IdentityKey:
    key_id, digest, domain, expires_at = (
        value["id"], bytes.fromhex(value["sha256"]), value["domain"], value["expires_at"]
    )  # fmt: skip
    if row_id(key_id) is None or len(digest) != _DIGEST_BYTES:
        raise ValueError
    if domain is not None and not isinstance(domain, str):
        raise ValueError
    return IdentityKey(key_id, tenant, digest, domain, None if expires_at is None else float(expires_at))
