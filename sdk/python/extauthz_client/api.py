"""The typed clients of the admin REST API: one method a call, for asyncio and for threads."""

import functools
from collections.abc import Callable, Coroutine, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Concatenate, ParamSpec, Self, TypeVar

from extauthz_client.calls import Api
from extauthz_client.credentials import Credentials, credentials_from
from extauthz_client.drivers import AsyncDriver, BlockingDriver
from extauthz_client.errors import ClientError
from extauthz_client.exchange import Steps

_Arguments = ParamSpec("_Arguments")
_Result = TypeVar("_Result")


def _asynchronous(
    call: Callable[Concatenate[Api, _Arguments], Steps[_Result]],
) -> "Callable[Concatenate[ExtauthzClient, _Arguments], Coroutine[Any, Any, _Result]]":
    """Return a call of the API as a method of the asynchronous client."""

    async def method(
        client: "ExtauthzClient", /, *arguments: _Arguments.args, **named: _Arguments.kwargs
    ) -> _Result:
        return await client._run(call(client._api, *arguments, **named))

    functools.update_wrapper(method, call)
    return method


def _blocking(
    call: Callable[Concatenate[Api, _Arguments], Steps[_Result]],
) -> "Callable[Concatenate[SyncExtauthzClient, _Arguments], _Result]":
    """Return a call of the API as a method of the synchronous client."""

    def method(
        client: "SyncExtauthzClient", /, *arguments: _Arguments.args, **named: _Arguments.kwargs
    ) -> _Result:
        return client._run(call(client._api, *arguments, **named))

    functools.update_wrapper(method, call)
    return method


class _Client:
    """What both clients have in common."""

    _api: Api

    @property
    def policy_revision(self) -> int | None:
        """The revision of the write that was answered last; a `check` with it as `min_revision` sees it."""
        return self._api.revision

    @classmethod
    def from_environment(
        cls, environ: Mapping[str, str], *, attempts: int = 4, timeout_s: float = 10.0
    ) -> Self:
        """Return a client with what an environment names.

        `EXTAUTHZ_URL` is the API, `EXTAUTHZ_CA_FILE` the CAs to trust in addition to the system's; the
        credentials are those of `credentials_from`.

        Raises:
            ClientError: a variable is missing or does not fit.
        """
        url = environ.get("EXTAUTHZ_URL")
        if not url:
            raise ClientError("EXTAUTHZ_URL not set; it is an address such as https://extauthz.example.com")
        ca_file = environ.get("EXTAUTHZ_CA_FILE") or None
        try:
            return cls(
                url, credentials_from(environ), attempts=attempts, timeout_s=timeout_s, ca_file=ca_file
            )
        except ValueError as error:
            raise ClientError(f"EXTAUTHZ_URL, EXTAUTHZ_CA_FILE: {error}") from error

    def __init__(
        self,
        base_url: str,
        credentials: Credentials,
        *,
        attempts: int = 4,
        timeout_s: float = 10.0,
        ca_file: str | Path | None = None,
    ) -> None:
        """Name the API (without `/api/v1`) and the caller; `timeout_s` is for one attempt.

        The CAs of `ca_file` (PEM) are trusted in addition to the system's. Nothing is opened before the
        client is.

        Raises:
            ValueError: a text that is not an HTTP address, or a file without a certificate.
        """
        raise NotImplementedError


class ExtauthzClient(_Client):
    """An async context manager around one connection pool; entered twice, it closes with the last exit.

    Answers that say "not now" (429, 502, 503, 504), connections that cannot be made and an identity provider
    that is away are tried again, `attempts` times in all, after what `Retry-After` says or twice as long each
    time; a `Retry-After` of more than 10 seconds is not waited for. What could do a thing twice is sent again
    only when it surely was not done.

    Every call raises `ClientError`: `ApiError` when the API refuses, `Unreachable` when no answer arrives,
    `UnexpectedAnswer` when the answer is not the API's.
    """

    def __init__(
        self,
        base_url: str,
        credentials: Credentials,
        *,
        attempts: int = 4,
        timeout_s: float = 10.0,
        ca_file: str | Path | None = None,
    ) -> None:
        """Name the API (without `/api/v1`) and the caller; `timeout_s` is for one attempt.

        The CAs of `ca_file` (PEM) are trusted in addition to the system's. Nothing is opened before
        `async with`.

        Raises:
            ValueError: a text that is not an HTTP address, or a file without a certificate.
        """
        self._api = Api(base_url, credentials, attempts=attempts)
        self._driver = AsyncDriver(timeout_s=timeout_s, ca_file=ca_file)

    async def __aenter__(self) -> Self:
        """Open the connection pool."""
        self._driver.open()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the connection pool."""
        await self._driver.close()

    async def _run(self, steps: Steps[_Result]) -> _Result:
        if not self._driver.is_open:
            raise RuntimeError("the client is not open: use it in `async with`")
        return await self._driver.run(steps)

    register = _asynchronous(Api.register)
    resources = _asynchronous(Api.resources)
    delete_resource = _asynchronous(Api.delete_resource)
    role_rules = _asynchronous(Api.role_rules)
    create_role_rule = _asynchronous(Api.create_role_rule)
    replace_role_rule = _asynchronous(Api.replace_role_rule)
    delete_role_rule = _asynchronous(Api.delete_role_rule)
    role_bindings = _asynchronous(Api.role_bindings)
    create_role_binding = _asynchronous(Api.create_role_binding)
    delete_role_binding = _asynchronous(Api.delete_role_binding)
    attribute_policies = _asynchronous(Api.attribute_policies)
    create_attribute_policy = _asynchronous(Api.create_attribute_policy)
    replace_attribute_policy = _asynchronous(Api.replace_attribute_policy)
    delete_attribute_policy = _asynchronous(Api.delete_attribute_policy)
    restore_attribute_policy = _asynchronous(Api.restore_attribute_policy)
    check = _asynchronous(Api.check)


class SyncExtauthzClient(_Client):
    """The same client for threads: a context manager around one connection pool, which threads share.

    `open` and `close` do what entering and leaving do; opened twice, it closes with the last close. Calls
    behave and raise as those of `ExtauthzClient`. After a fork the child has connections of its own.
    """

    def __init__(
        self,
        base_url: str,
        credentials: Credentials,
        *,
        attempts: int = 4,
        timeout_s: float = 10.0,
        ca_file: str | Path | None = None,
    ) -> None:
        """As `ExtauthzClient`. Nothing is opened before `with` or `open`."""
        self._api = Api(base_url, credentials, attempts=attempts)
        self._driver = BlockingDriver(timeout_s=timeout_s, ca_file=ca_file)

    def open(self) -> Self:
        """Open the connection pool, or count one more user of it."""
        self._driver.open()
        return self

    def close(self) -> None:
        """Close the connection pool when the last of its users does."""
        self._driver.close()

    def __enter__(self) -> Self:
        """Open the connection pool."""
        return self.open()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the connection pool."""
        self.close()

    def _run(self, steps: Steps[_Result]) -> _Result:
        if not self._driver.is_open:
            raise RuntimeError("the client is not open: use it in `with`, or call open()")
        return self._driver.run(steps)

    register = _blocking(Api.register)
    resources = _blocking(Api.resources)
    delete_resource = _blocking(Api.delete_resource)
    role_rules = _blocking(Api.role_rules)
    create_role_rule = _blocking(Api.create_role_rule)
    replace_role_rule = _blocking(Api.replace_role_rule)
    delete_role_rule = _blocking(Api.delete_role_rule)
    role_bindings = _blocking(Api.role_bindings)
    create_role_binding = _blocking(Api.create_role_binding)
    delete_role_binding = _blocking(Api.delete_role_binding)
    attribute_policies = _blocking(Api.attribute_policies)
    create_attribute_policy = _blocking(Api.create_attribute_policy)
    replace_attribute_policy = _blocking(Api.replace_attribute_policy)
    delete_attribute_policy = _blocking(Api.delete_attribute_policy)
    restore_attribute_policy = _blocking(Api.restore_attribute_policy)
    check = _blocking(Api.check)
