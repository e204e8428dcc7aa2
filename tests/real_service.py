"""A whole CheckService for tests: real policies, keys and decision log, in this process."""

import json
import os
import time
import uuid
from collections.abc import Iterator, Mapping
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from extauthz.check.credentials import CredentialSources
from extauthz.check.service import CheckService
from extauthz.compile.directory import Directory
from extauthz.compile.documents.policy_documents import Reading, parse_policy_set
from extauthz.compile.roles.role_model import RoleModel
from extauthz.compile.snapshot import Snapshot
from extauthz.compile.snapshot_building import build
from extauthz.decide.judge import CheckPolicy
from extauthz.decide.tokens.jwks import KeySet, parse_jwks
from extauthz.decide.tokens.keyring import IssuerConfig, IssuerKeys, KeyRing
from extauthz.decisionlog.log import DecisionLog
from extauthz.decisionlog.recorder import Recorder
from extauthz.domain.policy import PolicySet
from extauthz.domain.tenancy import DEFAULT_TENANT, TenancyMode
from extauthz.keys.introspector import Introspector
from extauthz.keys.source import KeySource
from extauthz.telemetry.check_trace import CheckTracing
from extauthz.telemetry.counts import Counts
from tests.tokens import AUDIENCE, ISSUER, SigningKey, jwks

KEY = SigningKey.es256("service")
KEY_SET = jwks(KEY)
CONFIG = IssuerConfig.usual(
    ISSUER, DEFAULT_TENANT, (AUDIENCE,), "realm_access.roles", "dom", "adm", frozenset({"offline_access"})
)

TOKEN_LIFETIME_S = 6 * 3600
"""Parametrised tests make their tokens when they are collected, and run much later."""


def token(subject: str = "alice", **changes: object) -> str:
    """Return a token that is good from now to the end of the longest run of all tests."""
    now = int(time.time())
    usual = {"iss": ISSUER, "sub": subject, "aud": AUDIENCE, "iat": now - 60, "exp": now + TOKEN_LIFETIME_S}
    return KEY.sign({name: value for name, value in (usual | changes).items() if value is not None})


class FixedKeys:
    """A ring that never changes and whose provider never answers."""

    def __init__(self, ring: KeyRing) -> None:
        self._ring = ring

    def current(self) -> KeyRing:
        return self._ring

    def ensure(self, issuer: str, kid: str | None) -> "Future[None]":
        done: Future[None] = Future()
        done.set_result(None)
        return done


class FixedPolicies:
    """Policies that never change."""

    def __init__(self, directory: Directory | None) -> None:
        self._directory = directory

    def current(self) -> Directory | None:
        return self._directory


@dataclass
class RealService:
    service: CheckService
    log: DecisionLog
    file: Path

    def decisions(self) -> list[dict[str, Any]]:
        """Return the decisions logged so far, after ending the log."""
        self.log.close(5.0)
        lines = map(json.loads, self.file.read_text().splitlines())
        return [line for line in lines if line["event"] == "decision"]


def snapshot_of(policies: Mapping[str, object]) -> Snapshot:
    parsed = parse_policy_set(policies, Reading())
    assert isinstance(parsed, PolicySet), parsed
    built = build(DEFAULT_TENANT, 1, parsed, RoleModel())
    assert isinstance(built, Snapshot), built
    return built


@contextmanager
def real_service(
    folder: Path,
    policies: Mapping[str, object],
    *,
    policy: CheckPolicy | None = None,
    condition_headers: frozenset[str] = frozenset(),
    sources: CredentialSources | None = None,
    key_set: bytes = KEY_SET,
    keys: KeySource | None = None,
    introspector: Introspector | None = None,
    tracing: CheckTracing | None = None,
) -> Iterator[RealService]:
    """Serve the policies in selfhost mode, to tokens that `token` signs.

    `keys` replaces the source of keys.
    Each process has a key of its own: `key_set` is the KEY_SET of the one whose tokens come.
    """
    known = parse_jwks(key_set)
    assert isinstance(known, KeySet)
    snapshots = {DEFAULT_TENANT: snapshot_of(policies)}
    directory = Directory(TenancyMode.SELFHOST, snapshots, confirmed_at=time.time() + 10**9)
    file = folder / "decisions.jsonl"
    log = DecisionLog(str(file), worker=0, instance=uuid.uuid4())
    log.start()
    service = CheckService(
        policies=FixedPolicies(directory),
        keys=keys or FixedKeys(KeyRing.of([IssuerKeys(CONFIG, known, fetched_at=time.time())])),
        policy=policy or CheckPolicy(),
        recorder=Recorder(log, Counts(str(uuid.uuid4())), random_bytes=os.urandom),
        condition_headers=condition_headers,
        sources=sources,
        introspector=introspector,
        tracing=tracing,
    )
    try:
        yield RealService(service, log, file)
    finally:
        log.close(5.0)
