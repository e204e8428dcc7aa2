"""Runs the steps of a case with the Python client."""

import asyncio
import dataclasses
import functools
import traceback
from collections.abc import Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from extauthz_client import (
    ApiError,
    AttributePolicy,
    ClientCredentials,
    ClientError,
    Credentials,
    ExtauthzClient,
    Resource,
    RoleBinding,
    RoleRule,
    Route,
    ServiceKey,
    SyncExtauthzClient,
    UnexpectedAnswer,
    Unreachable,
    credentials_from,
)
from tests.conformance.comparison import ErrorKind, Failure

_KINDS: Final[tuple[tuple[type[Exception], ErrorKind], ...]] = (
    (ApiError, "api"),
    (Unreachable, "unreachable"),
    (UnexpectedAnswer, "unexpected"),
    (ClientError, "client"),
    (ValueError, "argument"),
)


Form = Literal["tasks", "threads"]
"""Which of the two clients: for asyncio, or for threads."""


@dataclass
class Outcome:
    """What a call came to: a result in the terms of the cases, or a failure."""

    result: object = None
    failure: Failure | None = None
    revision: int | None = None


@dataclass
class Run:
    """The calls of one client. `said` is every text in which a secret must not be."""

    outcomes: list[Outcome] = field(default_factory=list)
    said: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Hooks:
    """What happens around each step, by its number."""

    before: Callable[[int], None]
    after: Callable[[int, Outcome], None]
    fill: Callable[[Any], Any]


def credentials_of(document: Mapping[str, Any]) -> Credentials:
    """Return the credentials that a case names."""
    match document:
        case {"service_key": key}:
            return ServiceKey(key)
        case {"environment": environ}:
            return credentials_from(environ)
        case {"client_credentials": dict(members)}:
            return ClientCredentials(**members)
        case _:
            raise AssertionError(document)


async def run(
    form: Form,
    credentials: Callable[[], Credentials],
    client: Mapping[str, Any],
    steps: Sequence[Mapping[str, Any]],
    hooks: Hooks,
) -> Run:
    """Make the credentials and the client, and call it for each step."""
    done = Run()
    hooks.before(0)
    try:
        made = credentials()
        options: dict[str, Any] = {"attempts": int(client["attempts"])} if "attempts" in client else {}
        options |= {"timeout_s": float(client["timeout"])} if "timeout" in client else {}
        kind = ExtauthzClient if form == "tasks" else SyncExtauthzClient
        opened = kind(client["url"], made, **options)
    except (ClientError, ValueError) as error:
        done.said.append("".join(traceback.format_exception(error)))
        done.outcomes.append(Outcome(failure=_failure(error)))
        hooks.after(0, done.outcomes[0])
        return done
    done.said.append(f"{made!r} {made} {opened!r} {opened}")
    async with AsyncExitStack() as stack:
        if isinstance(opened, ExtauthzClient):
            await stack.enter_async_context(opened)
        else:
            stack.enter_context(opened)
        for number, step in enumerate(steps):
            if number:
                hooks.before(number)
            outcome = Outcome()
            try:
                outcome.result = await _called(opened, step["call"], hooks.fill(step.get("with", {})))
            except (ClientError, ValueError) as error:
                done.said.append("".join(traceback.format_exception(error)) + repr(error))
                outcome.failure = _failure(error)
            outcome.revision = opened.policy_revision
            done.outcomes.append(outcome)
            hooks.after(number, outcome)
    return done


async def _called(
    client: ExtauthzClient | SyncExtauthzClient, operation: str, arguments: dict[str, Any]
) -> object:
    if operation == "construct":
        return None
    readers: dict[str, Callable[[Any], Any]] = {
        "create_attribute_policy": _policy,
        "create_role_binding": lambda members: RoleBinding(**members),
        "create_role_rule": lambda members: RoleRule(**members),
        "register": lambda members: [_resource(each) for each in members],
        "replace_attribute_policy": _policy,
        "replace_role_rule": lambda members: RoleRule(**members),
    }
    call = getattr(client, operation)
    if operation in readers:
        (argument,) = arguments.values()
        call, arguments = functools.partial(call, readers[operation](argument)), {}
    if isinstance(client, ExtauthzClient):
        return _neutral(await call(**arguments))
    # The real API is served by this loop.
    return _neutral(await asyncio.to_thread(call, **arguments))


def _resource(members: Mapping[str, Any]) -> Resource:
    routes = tuple(
        Route(**{**route, "methods": tuple(route["methods"])}) for route in members.get("routes", [])
    )
    roles = tuple(members.get("default_roles", []))
    return Resource(**{**members, "routes": routes, "default_roles": roles})


def _policy(members: Mapping[str, Any]) -> AttributePolicy:
    actions = {"actions": tuple(members["actions"])} if "actions" in members else {}
    return AttributePolicy(**{**members, **actions})


def _neutral(value: object) -> object:
    """Return a result as the cases have it: objects, lists and scalars."""
    match value:
        case tuple() | list():
            return [_neutral(each) for each in value]
        case Mapping():
            return {name: _neutral(each) for name, each in value.items()}
        case _ if dataclasses.is_dataclass(value) and not isinstance(value, type):
            return {each.name: _neutral(getattr(value, each.name)) for each in dataclasses.fields(value)}
        case _:
            return value


def _failure(error: Exception) -> Failure:
    kind = next(kind for shape, kind in _KINDS if isinstance(error, shape))
    if isinstance(error, ApiError):
        return Failure(
            kind,
            str(error),
            error.status,
            error.title,
            error.detail,
            error.reason,
            error.errors,
            error.retry_after_s,
        )
    return Failure(kind, str(error))
