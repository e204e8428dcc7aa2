"""`extauthz snapshot publish` and `snapshot public-key`: signed policies as files, for any static server.

Input: the environment, a folder. Output: heads and bodies in the folder, one line on stdout for each head.
"""

import asyncio
import json
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from extauthz.commands.status import BAD_USAGE, OK, fail, print_json
from extauthz.domain.one_line import one_line
from extauthz.domain.tenancy import DEFAULT_TENANT, TenancyMode
from extauthz.domain.tenant_config import TenantConfig
from extauthz.publish.config_additions import Additions, completed
from extauthz.publish.policy_signing import RENEWALS, TenantMissingError, is_current, next_head
from extauthz.runtime.followed_providers import FollowedProviders, followed_providers
from extauthz.runtime.policies import database
from extauthz.runtime.start_refused import StartRefusedError
from extauthz.settings import PostgresSource, Settings, load_settings, public_key_text
from extauthz.signed.bodies import config_of
from extauthz.signed.folder import PolicyFolder
from extauthz.signed.head import Head, HeadRejectedError, sign, verify
from extauthz.signed.signing import Signed
from extauthz.signed.signing_keys import pinned, signer
from extauthz.storage import feed
from extauthz.storage.availability import cause_of
from extauthz.storage.connection import open_reader
from extauthz.storage.pool import Connection
from extauthz.telemetry import logs


def public_key(environ: Mapping[str, str], *, as_json: bool = False) -> int:
    """Print the public key of POLICY_SIGNING_KEY, as POLICY_PUBLIC_KEYS takes it."""
    settings = _settings(environ)
    if settings is None:
        return BAD_USAGE
    text = public_key_text(_raw_public_key(settings))
    if as_json:
        return print_json(ok=True, public_key=text)
    print(text)
    return OK


def publish(environ: Mapping[str, str], folder: Path, *, every: float | None, as_json: bool = False) -> int:
    """Write the signed policies of each tenant into the folder, once, or every `every` seconds."""
    settings = _settings(environ)
    if settings is None:
        return BAD_USAGE
    if not isinstance(settings.policy_source, PostgresSource):
        return fail("snapshot publish reads PostgreSQL; POLICY_SOURCE is another source", BAD_USAGE)
    if settings.mode is TenancyMode.SAAS and not settings.tenants:
        return fail("snapshot publish needs TENANTS with MODE=saas", BAD_USAGE)
    longest = settings.policy_max_staleness / RENEWALS
    if every is not None and every > longest:
        return fail(
            f"--every {every:g} is too long: heads expire after POLICY_MAX_STALENESS; at most {longest:g}",
            BAD_USAGE,
        )
    logs.configure(settings.log_level, settings.log_format)
    try:
        return asyncio.run(_publish(settings, folder, every, _written_json if as_json else _written))
    except StartRefusedError as refused:
        return fail(str(refused), BAD_USAGE)


async def _publish(
    settings: Settings, root: Path, every: float | None, written: Callable[[Head], str]
) -> int:
    tenants = (DEFAULT_TENANT,) if settings.mode is TenancyMode.SELFHOST else settings.tenants
    signed = [_SignedFolder(tenant, PolicyFolder(root, tenant)) for tenant in tenants]
    async with followed_providers(settings) as providers:
        while True:
            problem = await _round(settings, providers, signed, written, once=every is None)
            if every is None:
                return OK if problem is None else fail(problem)
            if problem is not None:
                print(f"extauthz: {one_line(problem)}", file=sys.stderr, flush=True)
            await asyncio.sleep(every)


@dataclass(slots=True)
class _SignedFolder:
    """The folder of a tenant, and what was added to the configuration of the head that is there."""

    tenant: str
    folder: PolicyFolder
    added: Additions | None = None


async def _round(
    settings: Settings,
    providers: FollowedProviders,
    signed: Sequence[_SignedFolder],
    written: Callable[[Head], str],
    *,
    once: bool,
) -> str | None:
    """Write what is due of every tenant; the answer is what kept one of them from being written."""
    try:
        connection = await open_reader(database(settings))
    except Exception as error:  # noqa: BLE001  # whatever is wrong with the database is named
        return f"the database cannot be read: {cause_of(error)}"
    problem = None
    try:
        async with feed.one_moment(connection):
            await providers.register(connection, [each.tenant for each in signed])
        await providers.first_keys()
        additions = providers.additions()
        for each in signed:
            tenant = each.tenant
            added = additions(tenant)
            try:
                found = await _due(connection, settings, each, added, once=once)
                if found is not None:
                    assert settings.policy_signing_key is not None
                    envelope = sign(found.head, signer(settings.policy_signing_key))
                    each.folder.write(found.head, envelope, found.bodies)
                    each.added = added
                    print(written(found.head), flush=True)
            except TenantMissingError:
                problem = f"there is no tenant {tenant!r}"
            except OSError as error:
                problem = f"the folder of tenant {tenant!r} cannot be written: {error.strerror or error}"
    except Exception as error:  # noqa: BLE001  # as above
        problem = f"the database cannot be read: {cause_of(error)}"
    finally:
        connection.terminate()
    return problem


def _written(head: Head) -> str:
    """Return the line of a head that was written."""
    return f"{head.tenant} revision={head.revision} serial={head.serial}"


def _written_json(head: Head) -> str:
    return json.dumps({"tenant": head.tenant, "revision": head.revision, "serial": head.serial})


async def _due(
    connection: Connection, settings: Settings, signed: _SignedFolder, added: Additions, *, once: bool
) -> Signed | None:
    """Return the next head of a tenant; None while the one in the folder is current and young enough."""
    tenant, folder = signed.tenant, signed.folder
    before, now = _last(settings, tenant, folder), time.time()
    renew_after_s = 0.0 if once else settings.policy_max_staleness / RENEWALS
    async with feed.one_moment(connection):
        heads = await feed.heads(connection)
        is_young = before is not None and now - before.signed_at / 1000 < renew_after_s
        if before is not None and is_young and is_current(before, heads) and signed.added == added:
            return None
        complete = partial(completed, added=added, last=_last_config(before, folder))
        return await next_head(connection, heads, tenant, before, now, complete)


def _last_config(before: Head | None, folder: PolicyFolder) -> TenantConfig | None:
    """Return the configuration in the folder; None without a good one. Raises OSError."""
    octets = None if before is None else folder.body(before.config)
    if before is None or octets is None:
        return None
    try:
        return config_of(before.config, octets, before.tenant)
    except HeadRejectedError:
        return None


def _last(settings: Settings, tenant: str, folder: PolicyFolder) -> Head | None:
    """Return the head that the folder has, if this key signed it and its bodies are there. Raises OSError."""
    envelope = folder.head()
    if envelope is None:
        return None
    try:
        keys = pinned([_raw_public_key(settings)])
        head = verify(envelope, keys, tenant, now=time.time(), max_age_s=None)
    except HeadRejectedError:
        return None
    return None if folder.lacks(head) else head


def _raw_public_key(settings: Settings) -> bytes:
    assert settings.policy_signing_key is not None
    return settings.policy_signing_key.public_key().public_bytes_raw()


def _settings(environ: Mapping[str, str]) -> Settings | None:
    settings = load_settings(environ, serving=False)
    if not isinstance(settings, Settings):
        fail("; ".join(settings), BAD_USAGE)
        return None
    if settings.policy_signing_key is None:
        fail("POLICY_SIGNING_KEY is not set; make one with 'openssl genpkey -algorithm ed25519'", BAD_USAGE)
        return None
    return settings
