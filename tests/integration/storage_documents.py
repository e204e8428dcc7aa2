"""Complete documents, ids included, and the small things every storage test needs."""

import itertools
import os
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from types import ModuleType
from typing import TYPE_CHECKING, Any, TypeVar
from uuid import UUID

from extauthz.domain.ids import RANDOM_BYTES, uuid7
from extauthz.storage import feed
from extauthz.storage.outcome import Refusal
from extauthz.storage.pool import connect, open_pool, open_reader
from extauthz.storage.rows import Document
from extauthz.storage.tenants import ensure_tenant
from extauthz.storage.write import Actor, Change, Written, write

if TYPE_CHECKING:
    from extauthz.storage.pool import Connection, DatabaseAddress, Pool

T = TypeVar("T")
ACTOR = Actor("user", "alice", None, "req-1")


_milliseconds = itertools.count(time.time_ns() // 1_000_000)


def new_id() -> str:
    """Return ids that sort in the order they were made in, however fast."""
    return uuid7(next(_milliseconds), os.urandom(RANDOM_BYTES))


def role_rule(**members: object) -> Document:
    return {
        "id": new_id(), "sub": "finance", "sub_kind": "role", "dom": "*", "obj": "invoice:read",
        "act": "read", "effect": "allow",
    } | members  # fmt: skip


def role_binding(**members: object) -> Document:
    return {"id": new_id(), "user": "alice", "user_kind": "user", "role": "finance", "dom": "*"} | members


def attribute_policy(**members: object) -> Document:
    return {
        "id": new_id(), "name": "office hours", "resource": "invoice:read", "actions": ["*"], "domain": "*",
        "effect": "deny", "priority": 0, "enabled": True, "mode": "enforce", "format": "json",
        "rule_data": {"type": "ALWAYS"},
    } | members  # fmt: skip


def route(path: str = "/invoices/{id}", **members: object) -> Document:
    return {"methods": ["GET"], "path": path} | members


def resource(**members: object) -> Document:
    name = members.get("name", "invoice:read")
    return {
        "id": new_id(), "name": name, "displayName": name, "serviceName": "billing", "defaultRoles": [],
        "routes": [],
    } | members  # fmt: skip


@asynccontextmanager
async def pool_of(address: "DatabaseAddress", *tenants: str, max_size: int = 4) -> "AsyncIterator[Pool]":
    async with open_pool(address, max_size=max_size) as pool:
        for tenant in tenants:
            assert await ensure_tenant(pool, tenant, tenant) is True
        yield pool


@asynccontextmanager
async def connected(address: "DatabaseAddress") -> "AsyncIterator[Connection]":
    connection = await connect(address)
    try:
        yield connection
    finally:
        await connection.close()


@asynccontextmanager
async def reader_of(address: "DatabaseAddress") -> "AsyncIterator[Connection]":
    """Open a sidecar's connection whose every statement may read, also outside of `feed.one_moment`."""
    connection = await open_reader(address)
    try:
        await connection.execute("SET extauthz.reader = 'on'")
        yield connection
    finally:
        await connection.close()


async def attempt(
    pool: "Pool",
    work: Callable[[Change], Awaitable[T | Refusal]],
    *,
    tenant: str = "default",
    **options: Any,
) -> Written[T] | Refusal:
    return await write(pool, tenant, ACTOR, work, new_id=new_id, **options)


async def succeed(
    pool: "Pool",
    work: Callable[[Change], Awaitable[T | Refusal]],
    *,
    tenant: str = "default",
    **options: Any,
) -> Written[T]:
    outcome = await attempt(pool, work, tenant=tenant, **options)
    assert isinstance(outcome, Written), outcome
    return outcome


async def everything(reader: "Connection", tenant: str = "default") -> feed.TenantDocuments:
    """Return the documents of a tenant, each kind as a list."""
    documents = await feed.load(reader, tenant)
    assert documents is not None
    return replace(documents, role_rules=list(documents.role_rules))


def uuid_of(document: Document) -> UUID:
    return UUID(str(document["id"]))


async def create_one(pool: "Pool", noun: ModuleType, document: Document, **options: bool) -> object:
    return await attempt(pool, lambda change: noun.create(change, [document], **options))
