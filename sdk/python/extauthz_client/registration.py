"""Registers what an application declares, in the background, until it worked; the application serves on."""

import asyncio
import random
import threading
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal

from extauthz_client.api import ExtauthzClient, SyncExtauthzClient
from extauthz_client.declarations import DeclaredResources, log
from extauthz_client.errors import ApiError, ClientError
from extauthz_client.exchange import Pause
from extauthz_client.models import Resource

_FIRST_PAUSE_S: Final = 1.0
_LONGEST_PAUSE_S: Final = 60.0
_FIXES: Final = {
    401: "the credential is wrong or revoked: set EXTAUTHZ_SERVICE_API_KEY, or ADMIN_CLIENT_ID with its "
    "secret or key, to a valid one",
    403: "the credential may not register this: a service key needs the scope resources:write, this service "
    "name and these path prefixes",
    409: "a name or a route is taken: rename it here, or delete the other one",
}

Declared = Callable[[], Sequence[Resource]]


@dataclass(frozen=True, slots=True)
class RegistrationState:
    """How far a registration is; `message` is the last warning while it is failing."""

    status: Literal["pending", "registered", "failing"] = "pending"
    message: str | None = None


class Registration:
    """The registration of one application; `state` may be read at any time, for a health check."""

    def __init__(self, declared: Declared, *, first_pause_s: float = _FIRST_PAUSE_S) -> None:
        """Take what returns the declared resources; it is called until it returns."""
        self._declared = declared
        self._first_pause_s = first_pause_s
        self.state = RegistrationState()

    def attempts(self) -> "Generator[Sequence[Resource] | Pause, None, None]":
        """Yield what to register, and pauses between attempts; failures are thrown in. It never raises."""
        self.state = RegistrationState()
        pause = self._first_pause_s
        resources: Sequence[Resource] | None = None
        while True:
            asked_to_wait = 0.0
            try:
                if resources is None:
                    resources = self._declared()
                if resources:
                    yield resources
            except ApiError as error:
                asked_to_wait = error.retry_after_s or 0.0
                self._failing(_refusal(error, resources or ()))
            except ClientError as error:
                by = _places(resources or (), [each.name for each in resources or ()])
                self._failing(
                    f"the registration at extauthz failed, it is tried again: {error}; check the address and "
                    f"that extauthz runs there{by}"
                )
            except Exception as error:  # noqa: BLE001  # INVARIANT: registering never ends the host application
                log.exception("the registration at extauthz failed, it is tried again")
                self.state = RegistrationState("failing", f"{type(error).__name__}: {error}")
            else:
                names = ", ".join(each.name for each in resources)
                log.info("registered at extauthz: %s", names or "nothing")
                self.state = RegistrationState("registered")
                return
            yield Pause(max(asked_to_wait, pause * (0.5 + random.random() / 2)))  # noqa: S311
            pause = min(pause * 2, _LONGEST_PAUSE_S)

    def _failing(self, message: str) -> None:
        log.warning("%s", message)
        self.state = RegistrationState("failing", message)

    async def run(self, client: ExtauthzClient) -> None:
        """Register with an open client, until it worked."""
        attempts = self.attempts()
        step = next(attempts, None)
        while step is not None:
            try:
                if isinstance(step, Pause):
                    await asyncio.sleep(step.seconds)
                else:
                    await client.register(step)
            except Exception as error:  # noqa: BLE001  # thrown in, where it is reported
                step = attempts.throw(error)
            else:
                step = next(attempts, None)


class BackgroundRegistration(Registration):
    """A registration in a daemon thread of its own, which ends when it worked or is stopped.

    The client stays open until `stop`.
    """

    def __init__(self, client: SyncExtauthzClient, declared: Declared) -> None:
        """Open the client and start the thread. Raises TypeError for the asynchronous client."""
        if not isinstance(client, SyncExtauthzClient):
            raise TypeError("Flask and Django need a SyncExtauthzClient, which threads can use")
        super().__init__(declared)
        self._client = client.open()
        self._stopped = threading.Event()
        self._closing = threading.Lock()
        self._thread = threading.Thread(target=self._run, name="extauthz-registration", daemon=True)
        self._thread.start()

    def wait(self, timeout_s: float | None = None) -> bool:
        """Wait until it worked or was stopped, not longer than `timeout_s`; tell whether that is so."""
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def stop(self, timeout_s: float | None = None) -> None:
        """Stop trying, wait for the thread (not longer than `timeout_s`), and close the client."""
        with self._closing:
            if self._stopped.is_set():
                return
            self._stopped.set()
        self._thread.join(timeout_s)
        self._client.close()

    def _run(self) -> None:
        attempts = self.attempts()
        step = next(attempts, None)
        while step is not None and not self._stopped.is_set():
            try:
                if isinstance(step, Pause):
                    self._stopped.wait(step.seconds)
                else:
                    self._client.register(step)
            except Exception as error:  # noqa: BLE001  # thrown in, where it is reported
                if self._stopped.is_set():
                    return
                step = attempts.throw(error)
            else:
                step = next(attempts, None)


def _refusal(error: ApiError, resources: Sequence[Resource]) -> str:
    """Return one text with every problem, the endpoints that it is about, and what to do."""
    problems = "".join(f"; {_readable(problem, resources)}" for problem in error.errors)
    text = f"extauthz refused the registration, it is tried again: {error.summary}{problems}"
    if error.status not in _FIXES:
        return text
    about = [each.name for problem in error.errors if (each := _about(problem, resources)) is not None]
    return f"{text}; {_FIXES[error.status]}{_places(resources, about or [each.name for each in resources])}"


def _places(resources: Sequence[Resource], names: Sequence[str]) -> str:
    by = resources.declared_by(names) if isinstance(resources, DeclaredResources) else ""
    return f" (declared by {by})" if by else ""


def _about(problem: Mapping[str, object], resources: Sequence[Resource]) -> Resource | None:
    position = str(problem.get("pointer", "")).removeprefix("/").partition("/")[0]
    known = position.isascii() and position.isdigit() and int(position) < len(resources)
    return resources[int(position)] if known else None


def _readable(problem: Mapping[str, object], resources: Sequence[Resource]) -> str:
    """Return a problem with the name of the resource that its pointer leads to."""
    pointer, message = str(problem.get("pointer", "")), str(problem.get("message", ""))
    about = _about(problem, resources)
    if about is None:
        return f"{pointer} {message}"
    position = pointer.removeprefix("/").partition("/")[0]
    return f"{about.name}: {pointer.removeprefix('/' + position)} {message}"
