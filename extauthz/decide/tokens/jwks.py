"""Key sets of identity providers (RFC 7517), reduced to the keys that may verify a token.

A key that cannot be used is ignored and named in `KeySet.ignored`, never a reason to refuse the set
(RFC 7517 5). A member that is null reads as one that is absent. Keys are told apart by key id and algorithm
(RFC 7517 4.5); the same key twice is one key, and different keys that cannot be told apart verify nothing.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Set
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Final

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from jwt import PyJWK
from jwt.algorithms import Algorithm, get_default_algorithms
from jwt.exceptions import PyJWTError

from extauthz.decide.tokens.base64url import decode_base64url
from extauthz.decide.tokens.roca import has_roca_fingerprint
from extauthz.domain.strict_json import JsonRejected, read_object

DEFAULT_ALGORITHMS: Final = frozenset({"RS256", "ES256"})
ALGORITHMS: Final = DEFAULT_ALGORITHMS | {
    *("RS384", "RS512", "PS256", "PS384", "PS512", "ES384", "ES512", "EdDSA")
}
"""Every algorithm that a provider may be configured with (RFC 7518 3.1, RFC 8037 3.1); none is symmetric."""
MAX_KEYS: Final = 256

# RFC 7518 3.3: a key of 2048 bits or larger MUST be used. The upper bounds limit what one check can cost.
_MIN_RSA_BITS: Final = 2048
_MAX_RSA_BITS: Final = 16384
_MAX_RSA_EXPONENT_BITS: Final = 64
# RFC 7518 3.4: each curve has its algorithm. 6.2.1.2, 6.2.1.3: the full size of a coordinate in octets.
_CURVES: Final = {"P-256": ("ES256", 32), "P-384": ("ES384", 48), "P-521": ("ES512", 66)}
_ED25519: Final = "Ed25519"
_ED25519_BYTES: Final = 32  # RFC 8032 5.1.5
_EDDSA: Final = "EdDSA"
_RS256: Final = "RS256"
_RSA_ALGORITHMS: Final = (_RS256, "RS384", "RS512", "PS256", "PS384", "PS512")

_VERIFIERS: Final[Mapping[str, Algorithm]] = {
    name: algorithm for name, algorithm in get_default_algorithms().items() if name in ALGORITHMS
}


@dataclass(frozen=True, slots=True)
class VerificationKey:
    """A public key that verifies signatures of exactly one algorithm (RFC 8725 3.1).

    Two keys are equal when kid, algorithm and key material (the DER of the public key) are.
    """

    kid: str | None
    algorithm: str
    material: bytes
    _public_key: RSAPublicKey | EllipticCurvePublicKey | Ed25519PublicKey = field(repr=False, compare=False)

    def jwk(self) -> dict[str, object]:
        """Return the key as a JWK (RFC 7517), without a private half."""
        # The classes have this method each for its own kind of key.
        converter: Any = type(_VERIFIERS[self.algorithm])
        members: dict[str, object] = converter.to_jwk(self._public_key, as_dict=True)
        members.pop("key_ops", None)
        named = {} if self.kid is None else {"kid": self.kid}
        return members | named | {"alg": self.algorithm, "use": "sig"}

    def verifies(self, signing_input: bytes, signature: bytes) -> bool:
        """Whether `signature` is this key's over `signing_input` (RFC 7515 5.2, step 8).

        ECDSA signatures are the octets R || S (RFC 7518 3.4). Of one, (R, S), its twin (R, -S) is as good:
        never take a signature for the identity of a token.
        """
        return _VERIFIERS[self.algorithm].verify(signing_input, self._public_key, signature)


@dataclass(frozen=True, slots=True)
class IgnoredKey:
    """A member of the set that cannot verify a token, and why."""

    kid: str | None
    problem: str


@dataclass(frozen=True, slots=True)
class KeySet:
    """The usable keys of one issuer. It may be empty: then it verifies nothing.

    `ambiguous` are keys that verify nothing because another one has the same key id and algorithm.
    """

    keys: tuple[VerificationKey, ...] = ()
    ignored: tuple[IgnoredKey, ...] = field(default=(), compare=False)
    ambiguous: tuple[VerificationKey, ...] = ()
    _by_name: Mapping[tuple[str | None, str], VerificationKey] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        by_name = {(key.kid, key.algorithm): key for key in self.keys if key.kid is not None}
        object.__setattr__(self, "_by_name", MappingProxyType(by_name))

    def named(self, kid: str, algorithm: str) -> VerificationKey | None:
        """Return the key with this kid for this algorithm; kids are compared exactly (RFC 7517 4.5)."""
        return self._by_name.get((kid, algorithm))

    def others_named(self, kid: str) -> tuple[VerificationKey, ...]:
        """Return every key with this kid, whatever its algorithm, the ambiguous ones too."""
        return tuple(key for key in (*self.keys, *self.ambiguous) if key.kid == kid)

    def fitting(self, algorithm: str) -> tuple[VerificationKey, ...]:
        """Return the different keys that a token of this algorithm without a kid could mean."""
        return _different(key for key in (*self.keys, *self.ambiguous) if key.algorithm == algorithm)


@dataclass(frozen=True, slots=True)
class JwksRejected:
    """Why a document is not a usable key set; safe to log, it never quotes the document."""

    problem: str


def parse_jwks(
    document: bytes, *, algorithms: Set[str] = DEFAULT_ALGORITHMS, accept_private: bool = False
) -> KeySet | JwksRejected:
    """Read a JWK Set; keys of other algorithms than `algorithms` are ignored.

    A key that is published with its private half is ignored: anyone can sign with it. A local
    file is not published; there `accept_private` takes the public half.
    """
    members = read_object(document)
    if isinstance(members, JsonRejected):
        return JwksRejected(members.problem)
    # RFC 7517 5.1: `keys` MUST be present, an array.
    entries = members.get("keys")
    if not isinstance(entries, list):
        return JwksRejected(_no_keys(members))
    if len(entries) > MAX_KEYS:
        return JwksRejected(f"more than {MAX_KEYS} keys")

    found: list[VerificationKey] = []
    ignored: list[IgnoredKey] = []
    for entry in entries:
        key = _read_key(entry, algorithms, accept_private=accept_private)
        if isinstance(key, IgnoredKey):
            ignored.append(key)
        else:
            found.append(key)
    keys = tuple(dict.fromkeys(found))
    ambiguous = _ambiguous(keys)
    ignored += [IgnoredKey(key.kid, f"another {key.algorithm} key has the same kid") for key in ambiguous]
    return KeySet(tuple(key for key in keys if key not in ambiguous), tuple(ignored), ambiguous)


def _no_keys(members: Mapping[str, object]) -> str:
    if members and all(isinstance(value, str) and "CERTIFICATE" in value for value in members.values()):
        return "no list of `keys` but X.509 certificates; use the provider's JWK Set (RFC 7517)"
    if "jwks_uri" in members:
        return "no list of `keys` but a discovery document; use its jwks_uri"
    return "no list of `keys`"


def _ambiguous(keys: tuple[VerificationKey, ...]) -> tuple[VerificationKey, ...]:
    """Return the keys whose kid names another key of the same algorithm too; `keys` has none twice."""
    times = Counter((key.kid, key.algorithm) for key in keys)
    return tuple(key for key in keys if key.kid is not None and times[key.kid, key.algorithm] > 1)


def _different(keys: Iterable[VerificationKey]) -> tuple[VerificationKey, ...]:
    """Return one key for each key material: under two names it is still one key."""
    return tuple({key.material: key for key in keys}.values())


def _read_key(entry: object, algorithms: Set[str], *, accept_private: bool) -> VerificationKey | IgnoredKey:
    if not isinstance(entry, dict):
        return IgnoredKey(None, "not an object")
    members = {name: value for name, value in entry.items() if value is not None}
    kid = members.get("kid")
    # RFC 7517 4.5: when used with JWS, the kid is a string.
    if kid is not None and not isinstance(kid, str):
        return IgnoredKey(None, "kid is not a string")
    # RFC 7517 9.2, RFC 7518 6.2.2 and 6.3.2: `d` is the private half.
    if "d" in members and not accept_private:
        return IgnoredKey(kid, "its private half is published")
    problem = _purpose_problem(members)
    if problem is not None:
        return IgnoredKey(kid, problem)
    candidates: tuple[str, ...]
    match members.get("kty"):
        case "RSA":
            candidates, material = _RSA_ALGORITHMS, _rsa_members(members)
        case "EC":
            candidates, material = _ec_algorithms(members), _ec_members(members, algorithms)
        case "OKP" if _EDDSA in algorithms:
            candidates, material = (_EDDSA,), _ed25519_members(members)
        case _:
            # RFC 7517 4.1; symmetric (`oct`) keys end here, so no public value is ever an HMAC secret.
            return IgnoredKey(kid, "kty is neither RSA nor EC")
    if isinstance(material, str):
        return IgnoredKey(kid, material)
    fitting = [name for name in candidates if name in algorithms]
    algorithm, problem = _algorithm(members.get("alg"), fitting)
    return IgnoredKey(kid, problem) if algorithm is None else _build(kid, algorithm, material)


def _algorithm(named: object, fitting: list[str]) -> tuple[str | None, str]:
    """Return the one algorithm of a key, or None and why it has none; `fitting` are those that it could have.

    RFC 7517 4.4, RFC 8725 3.1: a key is used with one algorithm, the one it names. Without `alg` (optional;
    Entra has none) it is the only one of its kind that the provider may use, or RS256 among several.
    """
    if not fitting:
        return None, "no algorithm of the provider is for a key of this kind"
    if named is not None:
        # RFC 9864 2.2 names EdDSA by its curve.
        name = _EDDSA if named == _ED25519 else named
        if isinstance(name, str) and name in fitting:
            return name, ""
        return None, f"alg is not {fitting[0]}" if len(
            fitting
        ) == 1 else f"alg is none of {', '.join(fitting)}"
    if len(fitting) > 1 and _RS256 not in fitting:
        return None, f"alg is missing, and {', '.join(fitting)} fit"
    return _RS256 if _RS256 in fitting else fitting[0], ""


def _purpose_problem(entry: Mapping[str, object]) -> str | None:
    # RFC 7517 4.2: `use`, when there, must say signature. SPIFFE Trust Domain and Bundle 4.2.2: the keys of a
    # bundle that sign JWTs say jwt-svid.
    if entry.get("use", "sig") not in ("sig", "jwt-svid"):
        return "use is not sig"
    # RFC 7517 4.3: `key_ops`, when there, is an array without duplicates that must allow verifying.
    operations = entry.get("key_ops", ["verify"])
    if not isinstance(operations, list) or not all(isinstance(name, str) for name in operations):
        return "key_ops is not a list of strings"
    if len(set(operations)) != len(operations):
        return "key_ops names an operation twice"
    if "verify" not in operations:
        return "key_ops does not allow verify"
    return None


def _rsa_members(entry: Mapping[str, object]) -> dict[str, str] | str:
    # RFC 7518 6.3.1: `n` and `e`, Base64urlUInt.
    n, e = entry.get("n"), entry.get("e")
    if not isinstance(n, str) or not isinstance(e, str):
        return "n or e is missing"
    modulus, exponent = _unsigned(n), _unsigned(e)
    if modulus is None or exponent is None:
        return "n or e is not base64url"
    if modulus.bit_length() < _MIN_RSA_BITS:
        return f"an RSA key of fewer than {_MIN_RSA_BITS} bits"
    if modulus.bit_length() > _MAX_RSA_BITS or exponent.bit_length() > _MAX_RSA_EXPONENT_BITS:
        return "an RSA key too large to use"
    if modulus % 2 == 0 or exponent % 2 == 0 or exponent < 3:
        return "not an RSA key"
    if has_roca_fingerprint(modulus):
        return "an RSA key whose private half can be computed (ROCA, CVE-2017-15361)"
    return {"kty": "RSA", "n": n, "e": e}


def _ec_algorithms(entry: Mapping[str, object]) -> tuple[str, ...]:
    curve = entry.get("crv")
    return (_CURVES[curve][0],) if isinstance(curve, str) and curve in _CURVES else ()


def _ec_members(entry: Mapping[str, object], algorithms: Set[str]) -> dict[str, str] | str:
    # RFC 7518 6.2.1: `crv`, `x`, `y`.
    curves = [curve for curve, (algorithm, _) in _CURVES.items() if algorithm in algorithms]
    curve = entry.get("crv")
    if not isinstance(curve, str) or curve not in curves:
        return f"crv is not {' or '.join(curves) or 'that of an algorithm of the provider'}"
    x, y = entry.get("x"), entry.get("y")
    if not isinstance(x, str) or not isinstance(y, str):
        return "x or y is missing"
    _, size = _CURVES[curve]
    for coordinate in (decode_base64url(x.encode()), decode_base64url(y.encode())):
        if coordinate is None or len(coordinate) != size:
            return f"x or y is not {size} octets in base64url"
    return {"kty": "EC", "crv": curve, "x": x, "y": y}


def _ed25519_members(entry: Mapping[str, object]) -> dict[str, str] | str:
    # RFC 8037 2: `crv`, `x`.
    if entry.get("crv") != _ED25519:
        return "crv is not Ed25519"
    x = entry.get("x")
    if not isinstance(x, str):
        return "x is missing"
    point = decode_base64url(x.encode())
    if point is None or len(point) != _ED25519_BYTES:
        return f"x is not {_ED25519_BYTES} octets in base64url"
    return {"kty": "OKP", "crv": _ED25519, "x": x}


def _unsigned(text: str) -> int | None:
    octets = decode_base64url(text.encode())
    return None if octets is None else int.from_bytes(octets, "big")


def _build(kid: str | None, algorithm: str, members: dict[str, str]) -> VerificationKey | IgnoredKey:
    try:
        # Public members only. RFC 8725 3.4: that the point is on the curve is checked here.
        public_key = PyJWK(members, algorithm).key
    except (PyJWTError, ValueError, UnsupportedAlgorithm):
        return IgnoredKey(kid, "not a valid public key")
    if not isinstance(public_key, RSAPublicKey | EllipticCurvePublicKey | Ed25519PublicKey):
        return IgnoredKey(kid, "not a public key")
    material = public_key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return VerificationKey(kid, algorithm, material, public_key)
