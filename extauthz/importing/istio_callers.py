"""Istio's conditions on the caller: the peer, its address, the token.

The peer of mTLS is `request.source.principal`, a token's claims are `user.*`. What is absent makes a
condition false in Istio and unknown here, so that each condition first asks whether its attribute exists.
"""

import ipaddress
import re
from typing import Final

from extauthz.compile.conditions.values import parse_network
from extauthz.importing.bounds import (
    Bounds,
    ConditionDocument,
    any_of,
    both,
    condition,
    either,
    exactly,
    present,
    unheld,
)
from extauthz.importing.istio_strings import ListedValue, text_condition

PEER: Final = "request.source.principal"
ADDRESS: Final = "request.source.address"
_SPIFFE: Final = "spiffe://"
_PLAIN: Final = re.compile("[A-Za-z0-9/_.-]*", re.ASCII)
_NAMESPACE: Final = re.compile("[a-z0-9*-]+", re.ASCII)
_ACCOUNT: Final = re.compile("[a-z0-9.-]+(?:/[a-z0-9.-]+)?", re.ASCII)
_LOCAL: Final = "cluster.local"
_SHADOWED: Final = frozenset({"id", "kind", "roles", "domain", "tenant"})
_ALWAYS_TEXT: Final = frozenset({"iss", "sub"})
# Claims that Istio splits at spaces before it compares them.
_SPLIT: Final = frozenset({"scope", "permission"})


def peer(value: ListedValue, domains: tuple[str, ...]) -> Bounds:
    """Return the bounds of one principal.

    `domains` are the trust domain of the mesh and its aliases, empty where they are not known: for Istio
    `cluster.local` stands for each of them, and a principal in one is one in all.
    """
    domain, slash, rest = value.text.partition("/")
    if "*" in domain or not slash:
        return _one_peer(value, value.text)
    if domains:
        own = domain in {*domains, _LOCAL}
        return any_of([_one_peer(value, f"{each}/{rest}" if own else value.text) for each in domains])
    found = _one_peer(value, value.text)
    if not _PLAIN.fullmatch(rest.removesuffix("*")):
        return found
    gap = value.gap(
        "the trust domain of the mesh is not known, and Istio reads the principal in it and its aliases",
        "name it with --trust-domain, cluster.local where the mesh sets none",
    )
    pattern = f"{_SPIFFE}[^/]+/{re.escape(rest.removesuffix('*'))}{'.*' if rest.endswith('*') else ''}"
    return Bounds(found.inner, present(PEER, condition(PEER, "matches", pattern)), (), (gap,))


def _one_peer(value: ListedValue, text: str) -> Bounds:
    if text.startswith("*") and text != "*":
        # For Istio a suffix is a regular expression behind the scheme.
        if not _PLAIN.fullmatch(text[1:]):
            return unheld(value.gap("Istio reads it as a regular expression", "write the principals out"))
        return exactly(present(PEER, condition(PEER, "matches", f"{_SPIFFE}.*{text[1:]}")))
    if text == "*":
        return exactly(present(PEER, condition(PEER, "matches", ".+")))
    return exactly(present(PEER, text_condition(PEER, text, _SPIFFE)))


def namespace(value: ListedValue) -> Bounds:
    """Return the bounds of one namespace of the peer."""
    if not _NAMESPACE.fullmatch(value.text):
        return unheld(value.gap("it is not the name of a namespace", "name the namespace"))
    pattern = value.text.replace("*", ".*")
    return exactly(present(PEER, condition(PEER, "matches", f".*/ns/{pattern}/.*")))


def service_account(value: ListedValue, default_namespace: str) -> Bounds:
    """Return the bounds of one service account of the peer."""
    if not _ACCOUNT.fullmatch(value.text):
        return unheld(value.gap("it is neither 'account' nor 'namespace/account'", "name the account"))
    space, slash, account = value.text.partition("/")
    if not slash:
        space, account = default_namespace, value.text
    if not space:
        return unheld(value.gap("the policy names no namespace", "write 'namespace/account'"))
    pattern = f"spiffe://.+/ns/{space}/(?:.+/|)sa/{account}(?:/.+)?"
    return exactly(present(PEER, condition(PEER, "matches", pattern)))


def address(value: ListedValue) -> Bounds:
    """Return the bounds of one block of addresses of the peer."""
    try:
        network = str(ipaddress.ip_network(value.text, strict=False))
    except ValueError:
        network = ""
    if not network or parse_network(network) is None:
        return unheld(value.gap("it is neither an address nor a block of addresses", "write a CIDR block"))
    return exactly(condition(ADDRESS, "cidr", network))


def request_principal(value: ListedValue) -> Bounds:
    """Return the bounds of one request principal, ISSUER/SUBJECT as Istio splits it: at the last slash."""
    text = value.text
    issuer, slash, subject = text.rpartition("/")
    if text == "*" or (not slash and text.startswith("*")):
        found = _token("*", text)
    elif not slash and text.endswith("*"):
        found = _token(text, "*")
    elif not slash:
        # Istio compares the subject with the empty string.
        found = _token(text, "")
    elif text.startswith("*"):
        found = both(_claim_text("iss", issuer), _claim_text("sub", subject, literal=True))
    elif text.endswith("*"):
        # A star at the beginning of the subject is an ordinary character then.
        rest = present("user.sub", condition("user.sub", "startsWith", subject[:-1]))
        found = both(
            _claim_text("iss", issuer, literal=True), rest if subject != "*" else _claim_text("sub", "*")
        )
    else:
        found = both(_claim_text("iss", issuer, literal=True), _claim_text("sub", subject, literal=True))
    return exactly(found)


def _token(issuer: str, subject: str) -> ConditionDocument:
    return both(_claim_text("iss", issuer), _claim_text("sub", subject))


def _claim_text(claim: str, text: str, *, literal: bool = False) -> ConditionDocument:
    name = f"user.{claim}"
    return present(name, condition(name, "eq", text) if literal else text_condition(name, text))


def claim(value: ListedValue, name: str) -> Bounds:
    """Return the bounds of one value of a claim, which may be a string or a list of strings."""
    if "][" in name or "." in name or not name:
        return unheld(
            value.gap(
                "a nested claim, or one with a dot, has no name of its own here: user.a.b is either",
                f"write a condition on user.{name.replace('][', '.')}",
            )
        )
    if name in _SHADOWED:
        return unheld(
            value.gap(
                f"user.{name} is the verified identity here, not the claim",
                f"write a condition on user.{name} if that is meant",
            )
        )
    attribute = f"user.{name}"
    if name in _ALWAYS_TEXT:
        return exactly(_claim_text(name, value.text))
    untyped = value.gap(
        "the claim may be a string or a list, and a condition on the other kind is unknown here",
        f"write a deny with 'eq' or 'has' on {attribute}, whichever the claim is",
    )
    if "*" in (value.text[:1], value.text[-1:]):
        if name in _SPLIT:
            return unheld(value.gap("parts of a list are compared whole here", "name the words"))
        lists = value.gap(
            "entries of a list are compared whole here, so only strings match", "name the values"
        )
        return Bounds(present(attribute, text_condition(attribute, value.text)), None, (lists,), (untyped,))
    entry = condition(attribute, "has", value.text)
    if name in _SPLIT:
        as_text: ConditionDocument = {**entry, "as": "words"}
    else:
        as_text = condition(attribute, "eq", value.text)
    return Bounds(present(attribute, either(as_text, entry)), None, (), (untyped,))
