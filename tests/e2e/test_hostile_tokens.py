"""Only a token exactly as the issuer signed it, for this audience and time, proves a principal."""

import base64
import hashlib
import hmac
import json
import time
from collections.abc import Iterator, Mapping

import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ed25519, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

from tests.e2e.gate import ALLOWED, DENIED, EC, POSTURES, RSA, Gate, Posture, bearer, gate
from tests.real_tokens import good_claims
from tests.tokens import SigningKey, b64, claims

P256_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
FORGER = SigningKey.rs256("rsa", serial=1)
EC_FORGER = SigningKey.es256("ec", serial=1)
HUGE = "9" * 400
CREDENTIAL_REFUSED = {400, 401, 431}
"""400 and 431 are answers of Envoy itself, to malformed HTTP and to too large headers."""


def tampered(
    token: str, header: Mapping[str, object] | bytes, payload: Mapping[str, object] | None = None
) -> str:
    """Return the token with another header, and payload, under its old signature."""
    _, old_payload, signature = token.split(".")
    octets = header if isinstance(header, bytes) else json.dumps(header).encode()
    new = old_payload if payload is None else b64(json.dumps(payload).encode())
    return f"{b64(octets)}.{new}.{signature}"


def hmac_signed(
    header: Mapping[str, object], payload: Mapping[str, object], secret: bytes, algorithm: str
) -> str:
    signing_input = f"{b64(json.dumps(header).encode())}.{b64(json.dumps(payload).encode())}"
    return f"{signing_input}.{b64(hmac.new(secret, signing_input.encode(), algorithm).digest())}"


def public_forms(key: SigningKey) -> list[bytes]:
    """Every form of a public key that may be mistaken for an HMAC secret."""
    public = key.private.public_key()
    pem = public.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    der = public.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    jwk = json.dumps(key.jwk()).encode()
    members = [str(value).encode() for value in key.jwk().values()]
    pkcs1 = []
    if isinstance(public, rsa.RSAPublicKey):
        pkcs1 = [public.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.PKCS1)]
    return [pem, pem.strip(), der, base64.b64encode(der), jwk, *members, *pkcs1, b"", b"secret"]


def algorithms(good: Mapping[str, object]) -> Iterator[tuple[str, str]]:
    token, ec_token = RSA.sign(good), EC.sign(good)
    for spelling in (
        "none",
        "None",
        "NONE",
        "nOnE",
        "none ",
        "",
        "HS256",
        "RS384",
        "PS256",
        "rs256",
        "RS256 ",
        "RS256\0",
    ):
        header = {"alg": spelling, "kid": "rsa", "typ": "JWT"}
        yield f"alg {spelling!r} under an old signature", tampered(token, header)
        yield f"alg {spelling!r} without a signature", tampered(token, header).rpartition(".")[0] + "."
        yield f"alg {spelling!r}, two segments", tampered(token, header).rpartition(".")[0]
    for odd in (None, 0, True, ["RS256"], {"alg": "RS256"}):
        yield (
            f"alg {odd!r}",
            RSA.sign_bytes(json.dumps({"alg": odd, "kid": "rsa"}).encode(), json.dumps(good).encode()),
        )
    yield "no alg", RSA.sign(good, alg=None)
    for key in (RSA, EC):
        for secret in public_forms(key):
            for algorithm in ("sha256", "sha512"):
                header = {"alg": f"HS{algorithm[3:]}", "kid": str(key.kid), "typ": "JWT"}
                yield (
                    f"{header['alg']} with what is public of {key.kid}",
                    hmac_signed(header, good, secret, algorithm),
                )
                header["alg"] = key.algorithm
                yield f"an HMAC called {key.algorithm}", hmac_signed(header, good, secret, algorithm)
    yield "ES256 under the RSA key's name", EC.sign(good, kid="rsa")
    yield "RS256 under the EC key's name", RSA.sign(good, kid="ec")
    yield "RS256 that calls itself ES256", RSA.sign(good, alg="ES256")
    yield "ES256 that calls itself RS256", EC.sign(good, alg="RS256")
    yield "RS256 as ES256 under the EC key's name", RSA.sign(good, alg="ES256", kid="ec")
    yield "ES256 as RS256 under the RSA key's name", EC.sign(good, alg="RS256", kid="rsa")
    signing_input = ec_token.rpartition(".")[0]
    assert isinstance(RSA.private, rsa.RSAPrivateKey)
    for name, scheme, digest in (
        ("PSS", padding.PSS(padding.MGF1(hashes.SHA256()), 32), hashes.SHA256()),
        ("SHA-512", padding.PKCS1v15(), hashes.SHA512()),
        ("SHA-1", padding.PKCS1v15(), hashes.SHA1()),
    ):
        rsa_input = token.rpartition(".")[0]
        signature = RSA.private.sign(rsa_input.encode(), scheme, digest)
        yield f"RSA with {name}", f"{rsa_input}.{b64(signature)}"
    edward = ed25519.Ed25519PrivateKey.generate()
    yield "an Edwards signature", f"{signing_input}.{b64(edward.sign(signing_input.encode()))}"


def keys(good: Mapping[str, object], provider: str) -> Iterator[tuple[str, str]]:
    for forger in (FORGER, EC_FORGER):
        yield f"another key of the same name, {forger.algorithm}", forger.sign(good)
        yield "its own key in the header", forger.sign(good, jwk=forger.jwk())
        yield "its own key in the header, nameless", forger.sign(good, jwk=forger.jwk(), kid=None)
        for link in ("jku", "x5u"):
            yield f"{link} to its own keys", forger.sign(good, **{link: f"{provider}/{link}"})
            yield f"{link} without a kid", forger.sign(good, kid=None, **{link: f"{provider}/{link}"})
        yield "x5c", forger.sign(good, x5c=[base64.b64encode(b"certificate").decode()])
        for kid in (
            "../../../../dev/null", "/dev/null", "file:///dev/null", "rsa\0", "rsa ", " rsa", "RSA",
            "rsa,ec", "",
            "' OR '1'='1", "' UNION SELECT 'x", "|id", "$(id)", "rsa\n", "\ud800", "x" * 5000,
            f"{provider}/jwks",
            "__class__", "None", "0",
        ):  # fmt: skip
            yield f"kid {kid[:24]!r}", forger.sign(good, kid=kid)
    for odd in (None, 0, 1.5, True, ["rsa"], {"kid": "rsa"}):
        header = json.dumps({"alg": "RS256", "kid": odd}).encode()
        yield f"kid {odd!r}", RSA.sign_bytes(header, json.dumps(good).encode())
    yield "no kid, signed with another key", FORGER.sign(good, kid=None)


def headers(good: Mapping[str, object]) -> Iterator[tuple[str, str]]:
    payload = json.dumps(good).encode()
    for name, member in (
        ("crit", ["exp"]), ("crit", []), ("crit", "exp"), ("b64", False), ("b64", True), ("zip", "DEF"),
        ("zip", ""),
    ):  # fmt: skip
        yield f"{name} {member!r}", RSA.sign(good, **{name: member})
    for kind in (
        "logout+jwt",
        "dpop+jwt",
        "JWE",
        "at+jwt ",
        "",
        "application/json",
        ["JWT"],
        1,
        "secevent+jwt",
    ):
        yield f"typ {kind!r}", RSA.sign(good, typ=kind)
    for text in (
        b'{"alg":"RS256","alg":"RS256","kid":"rsa"}', b'{"alg":"none","alg":"RS256","kid":"rsa"}',
        b'{"alg":"RS256","kid":"rsa","kid":"ec"}', b'{"alg":"RS256","\\u0061lg":"none","kid":"rsa"}',
        b'\xef\xbb\xbf{"alg":"RS256","kid":"rsa"}', b'{"alg":"RS256","kid":"rsa"}x', b'[{"alg":"RS256"}]',
        b'"RS256"',
        b'{"alg":"RS256","kid":"rsa",}', b"{'alg':'RS256','kid':'rsa'}",
        b'{"alg":"RS256","kid":"rsa","x":NaN}',
        b'{"alg":"RS256","kid":"rsa","x":-Infinity}', b'{"alg":"RS256","kid":"rsa","x":"\xff"}', b"", b"{",
        b"null",
        b'{"alg":"RS256","kid":"rsa","x":' + b"[" * 2000 + b"]" * 2000 + b"}",
        '{"alg":"RS256","kid":"rsa"}'.encode("utf-16"), '{"alg":"RS256","kid":"rsa"}'.encode("utf-32-le"),
    ):  # fmt: skip
        yield f"header {text[:60]!r}", RSA.sign_bytes(text, payload)


def payloads(good: Mapping[str, object]) -> Iterator[tuple[str, str]]:
    header = b'{"alg":"RS256","kid":"rsa"}'
    text = json.dumps(good)
    for changed in (
        text[:-1] + ',"sub":"root"}', '{"sub":"root",' + text[1:], text[:-1] + ',"exp":99999999999}',
        "\ufeff" + text,
        text[:-1] + ',"\\u0073ub":"root"}', text[:-1] + ',"x":{"a":1,"a":2}}', text + " x",
        "[" + text + "]", text[:-1],
        text[:-1] + ',"x":NaN}', text[:-1] + ',"x":' + "[" * 3000 + "]" * 3000 + "}", '"alice"', "null", "",
        text[:-1] + ',"x":"\\ud800"}', text[:-1] + ',"x":"\t"}', text.replace('"exp": ', '"exp": 0'),
    ):  # fmt: skip
        yield (
            f"payload {changed[:12]!r}...{changed[-24:]!r}",
            RSA.sign_bytes(header, changed.encode("utf-8", "surrogatepass")),
        )
    yield "payload with a bad byte", RSA.sign_bytes(header, text.encode()[:-1] + b',"x":"\xff"}')
    for number in ("1e400", "-1e400", HUGE, f"-{HUGE}", "Infinity", "NaN", "1e308", "-1", "1e99999999999",
    '"9999999999"',
                   "true", "null", "[9999999999]", "9999999999999", "0x7fffffff", "99999999999999999999.0",
                   "-0.0"):  # fmt: skip
        for claim in ("exp", "nbf", "iat"):
            without = {name: value for name, value in good.items() if name != claim}
            if claim != "exp" and number in ("-0.0", "null"):
                continue  # zero, and long ago; null, and therefore absent
            yield (
                f"{claim} {number[:20]}",
                RSA.sign_bytes(header, (json.dumps(without)[:-1] + f',"{claim}":{number}}}').encode()),
            )


def meanings(issuer: str) -> Iterator[tuple[str, str]]:
    now = int(time.time())
    wrong: dict[str, list[object]] = {
        "aud": [None, "", "extauth", "extauthz2", "EXTAUTHZ", " extauthz", "extauthz/", [], ["other"],
        [["extauthz"]],
                {"extauthz": True}, 0, True, ["extauthz", 1], "extauthz,other"],
        "iss": [None, "", issuer + "/", issuer + "#", issuer + "?x", issuer.upper(), issuer + "\0",
        " " + issuer,
                issuer.replace("127.0.0.1", "localhost"), [issuer], {"iss": issuer}, 0,
                "https://idp.example.test"],
        "sub": [None, "", " alice", "alice ", "al\nice", "al\x00ice", "al\u200bice", "al\u202eice",
        ["alice"], 1, True,
                {"sub": "alice"}, "x" * 2000, "e\u0301"],
        "exp": [None, now - 1, now - 3600, 0],
        "nbf": [now + 3600],
        "iat": [now + 3600],
        "dom": ["", "*", " a", ["a", "b"], [], 1, True, {"a": 1}, "a\nb"],
        "realm_access": [{"roles": [["admin"]]}, {"roles": [1]}, {"roles": "admin\n"},
        {"roles": {"admin": True}}],
    }  # fmt: skip
    for claim, values in wrong.items():
        for value in values:
            changed = good_claims(issuer, "alice") | {claim: value}
            if value is None:
                del changed[claim]
            yield f"{claim} {str(value)[:40]!r}", RSA.sign(changed)
    yield "another issuer's claims, good in 2027", RSA.sign(claims())


def forms(good: Mapping[str, object]) -> Iterator[tuple[str, str]]:
    token = RSA.sign(good)
    header, payload, signature = token.split(".")
    yield "padded", f"{header}=.{payload}=.{signature}="
    yield "a padded signature", token + "=="
    for form in (
        f"{header}.{payload}", f"{header}.{payload}.", f".{payload}.{signature}", f"{header}..{signature}",
        "..", "...",
        f"{token}.", f".{token}", f"{token}.{signature}",
        f"{header}.{payload}.{signature}.{payload}.{signature}",
        f"{token} x", f"{token};x", f'"{token}"', f"{token},{token}", f"{token}, Bearer {token}",
        f"Bearer {token}",
        token.replace(".", "%2E"), token.replace(".", " "), token[:-1], token[1:], token + "A",
        token.swapcase(),
        f"{header}.{payload}.{signature[::-1]}", token[:-8] + "AAAAAAAA", "a.b.c", "null", "", " ", "\x01",
        f"{header}.{payload}.{signature[:10]}-{signature[10:]}", token.replace("_", "/").replace("-",
        "+") + "/",
        json.dumps({"payload": payload, "protected": header, "signature": signature}), token + "\x7f",
        f"{header}.{payload}.{signature}" + "\xff", "A" * 20000, f"{header}.{'A' * 16000}.{signature}",
    ):  # fmt: skip
        yield f"form {form[:10]!r}...{form[-10:]!r}", form


def twins(good: Mapping[str, object]) -> Iterator[tuple[str, str]]:
    """What a careless verifier takes for an ECDSA signature."""
    token = EC.sign(good)
    signing_input, _, encoded = token.rpartition(".")
    octets = base64.urlsafe_b64decode(encoded + "==")
    r, s = int.from_bytes(octets[:32]), int.from_bytes(octets[32:])
    yield "r and s are zero", f"{signing_input}.{b64(bytes(64))}"
    for one, other in (
        (0, 1),
        (1, 0),
        (1, 1),
        (P256_ORDER, P256_ORDER),
        (r, 0),
        (0, s),
        (P256_ORDER, s),
        (s, r),
        (r, s + 1),
    ):
        yield f"r {one:x}"[:20], f"{signing_input}.{b64(one.to_bytes(32) + other.to_bytes(32))}"
    yield "s + n, in 65 octets", f"{signing_input}.{b64(r.to_bytes(32) + (s + P256_ORDER).to_bytes(33))}"
    yield "r and s in 66 octets", f"{signing_input}.{b64(r.to_bytes(33) + s.to_bytes(33))}"
    yield "DER", f"{signing_input}.{b64(encode_dss_signature(r, s))}"
    yield "cut", f"{signing_input}.{b64(octets[:-1])}"
    yield "longer", f"{signing_input}.{b64(octets + bytes(1))}"


@pytest.fixture(scope="module")
def door(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gate]:
    with gate(tmp_path_factory.mktemp("tokens"), TOKEN_LEEWAY="0") as running:
        yield running


FAMILIES = ["algorithms", "keys", "headers", "payloads", "meanings", "forms", "twins"]


@pytest.mark.parametrize("posture", POSTURES[:2], ids=str)
@pytest.mark.parametrize("family", FAMILIES)
def test_no_token_of_the_family_is_accepted(door: Gate, posture: Posture, family: str) -> None:
    issuer = door.provider.issuer
    good = good_claims(issuer, "alice")
    members = {
        "algorithms": lambda: algorithms(good),
        "keys": lambda: keys(good, issuer),
        "headers": lambda: headers(good),
        "payloads": lambda: payloads(good),
        "meanings": lambda: meanings(issuer),
        "forms": lambda: forms(good),
        "twins": lambda: twins(good),
    }
    door.upstream.arrivals.clear()
    # The route needs no credential: a bad one must not pass for none.
    replies = [(name, door.send(posture, b"/x", bearer(token))) for name, token in members[family]()]

    assert [(name, reply.status) for name, reply in replies if reply.status not in CREDENTIAL_REFUSED] == []
    assert sum(reply.status == 401 for _, reply in replies) >= 10
    assert door.upstream.arrivals == []
    assert set(door.provider.requests) <= {"/.well-known/openid-configuration", "/jwks"}


@pytest.mark.parametrize("posture", POSTURES, ids=str)
def test_tokens_signed_by_the_issuer_are_accepted(door: Gate, posture: Posture) -> None:
    good = good_claims(door.provider.issuer, "alice")
    tokens = [
        RSA.sign(good),
        EC.sign(good),
        RSA.sign(good, kid=None),
        EC.sign(good, kid=None),
        RSA.sign(good, typ="at+jwt"),
    ]
    tokens.append(
        RSA.sign(
            good, jwk=FORGER.jwk(), jku="https://evil.example/", x5u="https://evil.example/", x5c=["AA=="]
        )
    )

    for token in tokens:
        reply = door.send(posture, b"/x", bearer(token))
        assert reply.status == ALLOWED
        assert reply.arrival is not None
        assert dict(reply.arrival.headers)[b"x-auth-subject"] == b"alice"


@pytest.mark.parametrize("posture", POSTURES[:2], ids=str)
def test_a_twin_of_a_signature_proves_what_the_signature_proves(door: Gate, posture: Posture) -> None:
    """(r, -s) verifies wherever (r, s) does: the same claims, never others, and never for longer."""
    issuer = door.provider.issuer

    def twin(token: str) -> str:
        signing_input, _, encoded = token.rpartition(".")
        octets = base64.urlsafe_b64decode(encoded + "==")
        mirrored = P256_ORDER - int.from_bytes(octets[32:])
        return f"{signing_input}.{b64(octets[:32] + mirrored.to_bytes(32))}"

    good = EC.sign(good_claims(issuer, "alice"))
    for token in (good, twin(good)):
        reply = door.send(posture, b"/x", bearer(token))
        assert reply.arrival is not None
        assert dict(reply.arrival.headers)[b"x-auth-subject"] == b"alice"
    expired = EC.sign(good_claims(issuer, "alice", exp=int(time.time()) - 1))
    assert door.send(posture, b"/x", bearer(twin(expired))).reason == "token_expired"
    header, _, signature = twin(good).split(".")
    other = b64(json.dumps(good_claims(issuer, "root")).encode())
    assert door.send(posture, b"/x", bearer(f"{header}.{other}.{signature}")).reason == "token_bad_signature"


@pytest.mark.parametrize("posture", POSTURES, ids=str)
def test_exactly_one_credential_is_read(door: Gate, posture: Posture) -> None:
    alice = bearer(RSA.sign(good_claims(door.provider.issuer, "alice")))
    root = bearer(RSA.sign(good_claims(door.provider.issuer, "root", roles=["admin"])))
    for lines in (
        [alice, alice],
        [alice, root],
        [alice, b"X-Service-Api-Key: sak_live_x"],
        [alice.replace(b"Bearer", b"Basic")],
        [alice.replace(b"Bearer ", b"")],
        [alice.replace(b"Bearer", b"Bearer\t")],
        [alice.replace(b"Bearer", b"DPoP")],
        [b"Authorization: Bearer"],
        [b"Authorization:"],
    ):
        assert door.send(posture, b"/admin/x", *lines).status == 401, lines
    # An empty line in addition to the credential: Envoy forwards one value, that of alice or the empty one.
    for lines in ([alice, b"authorization:"], [b"Authorization:", alice]):
        assert door.send(posture, b"/admin/x", *lines).status in {401, DENIED}
    elsewhere = alice.partition(b"Bearer ")[2]
    for lines in (
        [b"Proxy-Authorization: Bearer " + elsewhere],
        [b"X-Authorization: Bearer " + elsewhere],
        [b"Cookie: access_token=" + elsewhere],
        [b"Sec-WebSocket-Protocol: bearer, " + elsewhere],
    ):
        assert door.send(posture, b"/admin/x?access_token=" + elsewhere, *lines).reason == "token_missing"


def test_hashes_of_tokens_do_not_select_what_was_verified(door: Gate) -> None:
    """The cache knows whole tokens: after a good one, its nearest relatives are judged from the start."""
    good = RSA.sign(good_claims(door.provider.issuer, "alice"))
    posture = POSTURES[0]
    assert door.send(posture, b"/x", bearer(good)).status == ALLOWED
    header, payload, signature = good.split(".")
    claims_set = json.loads(base64.urlsafe_b64decode(payload + "=="))
    relatives = [
        f"{header}.{b64(json.dumps(claims_set | {'sub': 'root'}).encode())}.{signature}",
        f"{header}.{payload}.{b64(hashlib.sha256(good.encode()).digest())}",
        f"{header}.{payload}.{b64(bytes(256))}",
    ]
    assert {door.send(posture, b"/x", bearer(token)).reason for token in relatives} == {"token_bad_signature"}
