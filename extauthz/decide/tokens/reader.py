"""Compact JSON Web Tokens (RFC 7515, RFC 7519) under the rules of RFC 8725, judged one step at a time.

`read_token` is the only reader: whatever it returns has one meaning, but nothing of it is proven yet.
`choose_key` says which key has to have signed it, `VerificationKey.verifies` whether it did, and
`judge_claims` whether what it says holds now and for us. Refusals are values; no input raises.
"""

from collections.abc import Mapping, Set
from dataclasses import dataclass
from decimal import Decimal
from enum import Enum
from typing import Final

from extauthz.decide.tokens.base64url import decode_base64url
from extauthz.decide.tokens.claims import ClaimRejected, token_subject
from extauthz.decide.tokens.jwks import ALGORITHMS, DEFAULT_ALGORITHMS, KeySet, VerificationKey
from extauthz.domain.claims import ABSENT, claim_at, value_kind
from extauthz.domain.reasons import Reason
from extauthz.domain.strict_json import JsonRejected, read_object

MAX_TOKEN_BYTES: Final = 16384
DEFAULT_LEEWAY: Final = 5.0
MAX_LEEWAY: Final = 30.0

# RFC 8725 3.11: a token of another kind (logout+jwt, dpop+jwt, ...) proves nothing here.
_TYPES: Final = frozenset({"jwt", "at+jwt"})
_MEDIA_TYPE: Final = "application/"
# 9999-12-31T23:59:59Z; most often what lies outside is in milliseconds.
_LATEST_DATE: Final = 253402300799
_KNOWN_ALGORITHMS: Final = ALGORITHMS | {"none", "HS256", "HS384", "HS512"}


@dataclass(frozen=True, slots=True)
class Rejected:
    """A credential that is not good, or cannot be judged now. `detail` is safe to log."""

    reason: Reason
    detail: str


@dataclass(frozen=True, slots=True)
class UnverifiedToken:
    """A well-formed token. Nothing in it may be believed before its signature was verified.

    `kind` is `typ`, in lower case without `application/`; None where the header has none.
    """

    kind: str | None
    algorithm: str
    kid: str | None
    payload: bytes
    signing_input: bytes
    signature: bytes


@dataclass(frozen=True, slots=True)
class RegisteredClaims:
    """The registered claims of RFC 7519 4.1 in their types; times are POSIX seconds.

    `audiences` is None when the token names none.
    """

    issuer: str
    subject: str
    audiences: tuple[str, ...] | None
    expires_at: float
    not_before: float | None
    issued_at: float | None


class NoKey(Enum):
    """`NO_KEY`: this set has no key for the token; a newer set may."""

    NO_KEY = "no_key"


NO_KEY: Final = NoKey.NO_KEY


def read_token(
    compact: bytes, *, max_bytes: int, algorithms: Set[str] = DEFAULT_ALGORITHMS
) -> UnverifiedToken | Rejected:
    """Read the compact serialization of a signed token (RFC 7515 7.1). The payload may be any bytes.

    `algorithms` are those of all issuers together; whether its own has that of the token is judged later.
    """
    if len(compact) > max_bytes:
        return _malformed(f"longer than {max_bytes} bytes")
    # RFC 7515 7.1: BASE64URL(header) '.' BASE64URL(payload) '.' BASE64URL(signature), nothing else.
    if compact.count(b".") != 2:
        return _malformed("not three segments")
    header_segment, payload_segment, signature_segment = compact.split(b".")
    # RFC 7518 3.6 has an empty signature for `none` only, which RFC 8725 3.2 tells to refuse.
    if not header_segment or not signature_segment:
        return _malformed("an empty header or signature")
    header_octets = decode_base64url(header_segment)
    payload = decode_base64url(payload_segment)
    signature = decode_base64url(signature_segment)
    if header_octets is None or payload is None or signature is None:
        return _malformed("a segment is not base64url")
    # RFC 7515 4 and 5.2, steps 2 to 4: a UTF-8 JSON object whose member names are unique.
    header = read_object(header_octets)
    if isinstance(header, JsonRejected):
        return _malformed(f"header: {header.problem}")
    refused = _judge_header(header, algorithms)
    if refused is not None:
        return refused
    kid, kind = header.get("kid"), header.get("typ")
    return UnverifiedToken(
        kind=_media_type(kind) if isinstance(kind, str) else None,
        algorithm=str(header["alg"]),
        kid=kid if isinstance(kid, str) else None,
        payload=payload,
        signing_input=compact[: len(header_segment) + 1 + len(payload_segment)],
        signature=signature,
    )


def _media_type(kind: str) -> str:
    return kind.lower().removeprefix(_MEDIA_TYPE)


def _judge_header(header: Mapping[str, object], algorithms: Set[str]) -> Rejected | None:
    # RFC 7515 4.1.11: `crit` names extensions that MUST be understood, and we understand none; `b64`
    # (RFC 7797) is one, and must come with `crit`. `zip` (RFC 7516 4.1.3) has no meaning in a JWS.
    for name in ("crit", "b64", "zip"):
        if name in header:
            return _malformed(f"header: {name} is not supported")
    # Unlike a claim, a header member that is null is malformed: it says how the token has to be read.
    # RFC 7515 4.1.9: a media type, hence compared without case; `application/` may be left out where no other
    # slash follows, and none of the accepted types has one.
    kind = header.get("typ", "JWT")
    if not isinstance(kind, str) or _media_type(kind) not in _TYPES:
        return _malformed("header: typ is neither JWT nor at+jwt")
    # RFC 7515 4.1.4: a case-sensitive string.
    kid = header.get("kid", "")
    if not isinstance(kid, str):
        return _malformed(f"header: kid is {value_kind(kid)}, not a string")
    # RFC 7515 4.1.1, RFC 8725 3.1 and 3.2: configured algorithms, spelt exactly; `none` and HMAC cannot be.
    algorithm = header.get("alg")
    if not isinstance(algorithm, str) or algorithm not in algorithms:
        return unexpected_algorithm(algorithm, algorithms)
    # RFC 8725 3.10: `jku`, `x5u`, `x5c` and `jwk` (RFC 7515 4.1.2 to 4.1.6) are what the sender says about
    # keys. They are not read, anywhere: keys come from the issuer's configuration alone.
    return None


def unexpected_algorithm(algorithm: object, expected: Set[str]) -> Rejected:
    """Return why a token of this algorithm is refused where others are expected."""
    # RFC 7518 3.1: names that a detail may show; any other value of `alg` is the sender's own text.
    known = isinstance(algorithm, str) and algorithm in _KNOWN_ALGORITHMS
    shown = algorithm if known else "another"
    if expected == DEFAULT_ALGORITHMS:
        return Rejected(Reason.TOKEN_ALGORITHM, f"alg is neither RS256 nor ES256 but {shown}")
    return Rejected(Reason.TOKEN_ALGORITHM, f"alg is {shown}, not one of {', '.join(sorted(expected))}")


def choose_key(token: UnverifiedToken, keys: KeySet) -> VerificationKey | NoKey | Rejected:
    """Return the one key of the issuer that must have signed the token."""
    if token.kid is not None:
        key = keys.named(token.kid, token.algorithm)
        if key is not None:
            return key
        others = keys.others_named(token.kid)
        if any(other.algorithm == token.algorithm for other in others):
            return Rejected(Reason.TOKEN_UNKNOWN_KEY, f"the kid names several {token.algorithm} keys")
        # RFC 8725 3.1: the key says which algorithm it is for, not the token.
        if others:
            return Rejected(Reason.TOKEN_ALGORITHM, f"the key is for {others[0].algorithm}")
        return NO_KEY
    # Without a kid (RFC 7515 4.1.4: OPTIONAL) only a single candidate leaves nothing to guess.
    match keys.fitting(token.algorithm):
        case ():
            return NO_KEY
        case (key,):
            return key
        case _:
            return Rejected(Reason.TOKEN_UNKNOWN_KEY, "no kid, and several keys fit")


def read_payload(token: UnverifiedToken) -> dict[str, object] | Rejected:
    """Read the claims set: a UTF-8 JSON object (RFC 7519 7.2, step 10) with unique names (RFC 7519 4)."""
    claims = read_object(token.payload)
    return _malformed(f"payload: {claims.problem}") if isinstance(claims, JsonRejected) else claims


def read_registered(
    claims: Mapping[str, object],
    *,
    subject_claims: tuple[str, ...] = ("sub",),
    audience_claim: str = "aud",
    usual_expiry: float | None = None,
) -> RegisteredClaims | Rejected:
    """Read the registered claims. `iss`, a subject and `exp` are required: no token lives for ever.

    A claim that is null is one that is absent. `usual_expiry` is POSIX seconds, for claims without `exp`.
    """
    # RFC 7519 4.1.1 and 4.1.2: StringOrURI. The subject becomes a name, so it must be a canonical one.
    issuer, subject = claims.get("iss"), token_subject(claims, subject_claims)
    if not isinstance(issuer, str) or not issuer:
        return issuer_problem(issuer)
    if isinstance(subject, ClaimRejected):
        return _invalid(subject.problem)
    # RFC 7519 4.1.3: an array of strings, or one string.
    audience = claim_at(claims, audience_claim)
    audiences = [audience] if isinstance(audience, str) else audience
    if audiences is not ABSENT:
        if not isinstance(audiences, list | tuple):
            return _wrong(audience_claim, audience, "a string or a list of strings")
        for name in audiences:
            if not isinstance(name, str):
                return _invalid(f"{audience_claim} holds an entry that is {value_kind(name)}, not a string")
    # RFC 7519 4.1.4 to 4.1.6: NumericDate.
    for name in ("exp", "nbf", "iat"):
        if claims.get(name) is not None and numeric_date(claims[name]) is None:
            return _no_date(name, claims[name])
    expires_at = numeric_date(claims.get("exp"))
    if expires_at is None:
        expires_at = usual_expiry
    if expires_at is None:
        return _invalid("exp is missing")
    return RegisteredClaims(
        issuer=issuer,
        subject=subject,
        audiences=None if audiences is ABSENT else tuple(audiences),
        expires_at=expires_at,
        not_before=numeric_date(claims.get("nbf")),
        issued_at=numeric_date(claims.get("iat")),
    )


def issuer_problem(issuer: object) -> Rejected:
    """Return why an `iss` that is not a non-empty string is refused."""
    return _invalid("iss is empty") if issuer == "" else _wrong("iss", issuer, "a string")


def _wrong(name: str, value: object, wanted: str) -> Rejected:
    return _invalid(f"{name} is missing" if value is None else f"{name} is {value_kind(value)}, not {wanted}")


def _no_date(name: str, value: object) -> Rejected:
    if isinstance(value, int | Decimal) and not isinstance(value, bool):
        return _invalid(f"{name} is not a date from 1970 to 9999; it counts seconds, not milliseconds")
    return _wrong(name, value, "a number of seconds")


def numeric_date(value: object) -> float | None:
    """Return a NumericDate (RFC 7519 2) as POSIX seconds, or None for anything else.

    A JSON number between 1970 and 9999; the strict reader lets no NaN, infinity or float through.
    """
    if isinstance(value, bool) or not isinstance(value, int | Decimal):
        return None
    return float(value) if 0 <= value <= _LATEST_DATE else None


def judge_claims(
    claims: RegisteredClaims,
    *,
    audiences: tuple[str, ...] | None,
    audience_claim: str = "aud",
    now: float,
    leeway: float,
    max_lifetime: float | None,
) -> Rejected | None:
    """Say why these claims are not good now and for us, or None.

    `audiences` None: every audience will do. `leeway` and `max_lifetime` are seconds.
    """
    # RFC 7519 4.1.3, RFC 8725 3.9: the token must name an expected audience; one without `aud` names none.
    if audiences is not None and not set(audiences).intersection(claims.audiences or ()):
        detail = (
            f"{audience_claim} is missing"
            if claims.audiences is None
            else f"{audience_claim} does not contain the expected audience"
        )
        return Rejected(Reason.TOKEN_WRONG_AUDIENCE, detail)
    # RFC 7519 4.1.4: not accepted on or after exp.
    if now - leeway >= claims.expires_at:
        past = _seconds(now - claims.expires_at)
        return Rejected(Reason.TOKEN_EXPIRED, f"exp passed {past} ago (leeway {leeway:g} s)")
    # RFC 7519 4.1.5: not accepted before nbf. A token from the future (4.1.6) is not either.
    if now + leeway < valid_from(claims):
        name = "nbf" if claims.not_before == valid_from(claims) else "iat"
        ahead = _seconds(valid_from(claims) - now)
        return Rejected(Reason.TOKEN_NOT_YET_VALID, f"{name} is {ahead} ahead (leeway {leeway:g} s)")
    if max_lifetime is not None:
        if claims.issued_at is None:
            return _invalid(f"iat is missing, and a token may live at most {max_lifetime:g} s")
        lifetime = claims.expires_at - claims.issued_at
        if lifetime > max_lifetime:
            return _invalid(f"exp is {_seconds(lifetime)} after iat, more than {max_lifetime:g} s")
    return None


def _seconds(value: float) -> str:
    """Write a time to a tenth of a second: a detail says how far a date is from its bound."""
    return f"{round(value, 1):.15g} s"


def valid_from(claims: RegisteredClaims) -> float:
    """Return the POSIX second before which the token is not yet good, leeway aside."""
    return max(claims.not_before or 0.0, claims.issued_at or 0.0)


def _malformed(detail: str) -> Rejected:
    return Rejected(Reason.TOKEN_MALFORMED, detail)


def _invalid(detail: str) -> Rejected:
    return Rejected(Reason.TOKEN_CLAIMS_INVALID, detail)
