"""Fuzzes the file of IDENTITY_PROVIDERS: it is read, or every problem has a place; nothing raises."""

import json
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

import yaml
from hypothesis import given
from hypothesis import strategies as st

from extauthz.decide.tokens.jwks import ALGORITHMS
from extauthz.domain.tenancy import TenancyMode, TenantBinding
from extauthz.keys.provider_documents import ProviderDefaults, read_providers
from tests.fuzz.rounds import corpus, fuzzing, keep_fuzzing, mutated
from tests.tokens import SigningKey, jwks

SHAPES = sorted((Path(__file__).parent.parent / "providers").glob("*.yaml"))
PROVIDERS = [yaml.safe_load(shape.read_text("utf-8"))["provider"] for shape in SHAPES]
EXAMPLES = [
    *PROVIDERS,
    {
        "issuer": "https://a.example",
        "audiences": ["api"],
        "jwks": json.loads(jwks(SigningKey.es256("inline"))),
    },
    {
        "issuer": "https://b.example",
        "audiences": "any",
        "introspection": {"client_id": "c", "client_secret_file": "secret", "tokens": "all"},
    },
    {"issuer_template": "https://c.example/{id}", "issuer_values": ["1", "2"], "audiences": ["api"]},
]
FILES = [
    *(text.encode() for text in corpus("providers")),
    *(yaml.safe_dump({"providers": [provider]}).encode() for provider in EXAMPLES),
    json.dumps({"providers": EXAMPLES}).encode(),
]
FRAGMENTS = [
    b"\n", b"  ", b"- ", b": ", b"{", b"}", b"[", b"]", b"null", b"~", b"true", b"any", b"&a ", b"*a",
    b"!!python/x", b"<<: ", b"...", b"---", b"%", b"HS256", b"none", b"{id}", b"issuer: ", b"introspection: ",
    b"\xff", b"\0", b"'",
]  # fmt: skip
MODES = [
    (TenancyMode.SELFHOST, TenantBinding.HOST),
    (TenancyMode.SAAS, TenantBinding.HOST),
    (TenancyMode.SAAS, TenantBinding.TOKEN),
]


def judge(text: bytes) -> None:
    folder = Path(tempfile.gettempdir()) / "no such folder of extauthz"
    for mode, binding in MODES:
        defaults = ProviderDefaults(mode, "roles", "dom", "adm", frozenset(), frozenset(), binding=binding)
        found = read_providers(text, defaults, folder)
        if isinstance(found, list):
            assert found
            assert all(problem.message for problem in found)
            continue
        names = Counter(name for source in found for name in source.config.names)
        assert all(times == 1 for times in names.values())
        for source in found:
            config = source.config
            assert config.issuer
            assert config.tenant
            assert config.algorithms
            assert config.algorithms <= ALGORITHMS
            assert config.audiences is None or config.audiences
            assert config.leeway is None or 0 <= config.leeway <= 30
        introspecting = Counter(source.config.tenant for source in found if source.introspection is not None)
        assert all(times == 1 for times in introspecting.values())
        assert not (introspecting and binding is TenantBinding.TOKEN)


@fuzzing
@given(mutated(FILES, FRAGMENTS))
def changed_files(text: bytes) -> None:
    judge(text)


VALUES = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=8), st.just("any")),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=6), inner, max_size=3)
    ),
    max_leaves=6,
)
MEMBERS = st.sampled_from(
    sorted({name for provider in EXAMPLES for name in provider} | {"tenant", "jwks_proxy"})
)


@fuzzing
@given(
    st.lists(st.tuples(st.sampled_from(EXAMPLES), st.dictionaries(MEMBERS, VALUES, max_size=3)), max_size=3)
)
def any_value_in_any_member(entries: list[tuple[dict[str, Any], dict[str, Any]]]) -> None:
    providers = [provider | changes for provider, changes in entries]
    judge(json.dumps({"providers": providers}).encode())


@fuzzing
@given(st.binary(max_size=200))
def anything(text: bytes) -> None:
    judge(text)


def test_a_file_is_read_or_each_problem_has_its_place() -> None:
    keep_fuzzing(changed_files, any_value_in_any_member, anything)


def test_inputs_of_the_corpus_raise_nothing() -> None:
    for text in FILES:
        judge(text)
