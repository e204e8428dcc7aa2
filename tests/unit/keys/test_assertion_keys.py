"""The keys of assertions: which files are usable, and what becomes of them while the file changes."""

import json
from pathlib import Path

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    KeySerializationEncryption,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from extauthz.keys.assertion_file import RETAINED_S, SIGNS_AFTER_S, AssertionFile
from extauthz.keys.assertion_keys import MAX_FILE_BYTES, read_assertion_keys

Key = ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey | rsa.RSAPrivateKey


def p256() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


def pem(
    key: Key,
    form: PrivateFormat = PrivateFormat.PKCS8,
    protection: KeySerializationEncryption | None = None,
) -> bytes:
    return key.private_bytes(Encoding.PEM, form, protection or NoEncryption())


def public_pem(key: Key) -> bytes:
    return key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


@pytest.mark.parametrize(
    ("text", "algorithm"),
    [
        (pem(p256()), "ES256"),
        (pem(p256(), PrivateFormat.TraditionalOpenSSL), "ES256"),
        (
            b"-----BEGIN EC PARAMETERS-----\nBggqhkjOPQMBBw==\n-----END EC PARAMETERS-----\n" + pem(p256()),
            "ES256",
        ),
        (pem(ed25519.Ed25519PrivateKey.generate()), "EdDSA"),
    ],
)
def test_signatures_verify_with_the_published_key(text: bytes, algorithm: str) -> None:
    found = read_assertion_keys(text)
    assert isinstance(found, tuple)
    (key,) = found
    assert key.algorithm == algorithm
    header = jwt.utils.base64url_encode(json.dumps({"alg": algorithm, "kid": key.kid}).encode())
    signing_input = header + b"." + jwt.utils.base64url_encode(b'{"sub":"a"}')
    token = signing_input + b"." + jwt.utils.base64url_encode(key.sign(signing_input))
    public = jwt.PyJWK.from_dict(key.jwk)
    assert jwt.decode(token, public.key, algorithms=[algorithm]) == {"sub": "a"}
    assert set(key.jwk) <= {"kty", "crv", "x", "y", "alg", "use", "kid"}


@pytest.mark.parametrize(
    ("text", "part"),
    [
        (b"", "no key"),
        (b"garbage", "no key"),
        (b"\0\xff" * 100, "no key"),
        (b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----", "cannot be read"),
        (b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----", "certificate"),
        (pem(rsa.generate_private_key(65537, 2048)), "another kind"),
        (pem(ec.generate_private_key(ec.SECP384R1())), "another kind"),
        (pem(p256(), protection=BestAvailableEncryption(b"secret")), "passphrase"),
        (public_pem(p256()), "a private key is needed"),
        (pem(p256()) + b"".join(pem(p256()) for _ in range(8)), "more than 8"),
        (b"x" * (MAX_FILE_BYTES + 1), "larger than"),
    ],
)
def test_a_file_that_cannot_be_used_is_refused_without_quoting_it(text: bytes, part: str) -> None:
    found = read_assertion_keys(text)
    assert isinstance(found, str)
    assert part in found
    assert not any(line.decode("latin-1") in found for line in text.split(b"\n")[1:-1] if len(line) > 8)


class Followed:
    """A key file that is read when a test says so, under a clock that a test moves."""

    def __init__(self, folder: Path, *keys: bytes) -> None:
        self.path = folder / "assertion.pem"
        self.now = 1000.0
        self.path.write_bytes(b"".join(keys))
        self.file = AssertionFile(self.path, clock=lambda: self.now)

    def replaced(self, *keys: bytes) -> None:
        new = self.path.with_suffix(".new")
        new.write_bytes(b"".join(keys))
        new.replace(self.path)
        self.file.look()
        self.file.look()

    @property
    def signer(self) -> str | None:
        key = self.file.signer()
        return None if key is None else key.kid

    @property
    def published(self) -> set[str]:
        return {key["kid"] for key in json.loads(self.file.key_set())["keys"]}


def kid(text: bytes) -> str:
    found = read_assertion_keys(text)
    assert isinstance(found, tuple)
    return found[0].kid


def test_a_new_key_is_published_before_it_signs_and_the_old_one_after(tmp_path: Path) -> None:
    old, new = pem(p256()), pem(ed25519.Ed25519PrivateKey.generate())
    followed = Followed(tmp_path, old)
    assert followed.file.load() is None
    assert (followed.signer, followed.published) == (kid(old), {kid(old)})

    followed.replaced(new)
    assert (followed.signer, followed.published) == (kid(old), {kid(old), kid(new)})
    followed.now += SIGNS_AFTER_S
    assert (followed.signer, followed.published) == (kid(new), {kid(old), kid(new)})
    followed.now += RETAINED_S - 1
    assert followed.published == {kid(old), kid(new)}
    followed.now += 1
    assert followed.published == {kid(new)}


def test_a_key_that_was_published_before_signs_at_once(tmp_path: Path) -> None:
    old, new = pem(p256()), pem(p256())
    followed = Followed(tmp_path, old, new)
    assert followed.file.load() is None
    assert (followed.signer, followed.published) == (kid(old), {kid(old), kid(new)})
    followed.replaced(new, old)
    assert (followed.signer, followed.published) == (kid(new), {kid(old), kid(new)})


def test_a_second_rotation_keeps_every_key_that_signed(tmp_path: Path) -> None:
    keys = [pem(p256()) for _ in range(3)]
    followed = Followed(tmp_path, keys[0])
    assert followed.file.load() is None
    followed.replaced(keys[1])
    # Before the second has signed anything.
    followed.replaced(keys[2])
    assert followed.signer == kid(keys[0])
    assert followed.published == {kid(each) for each in keys}
    followed.now += SIGNS_AFTER_S
    assert followed.signer == kid(keys[2])


@pytest.mark.parametrize("text", [b"garbage", b"", pem(rsa.generate_private_key(65537, 2048))])
def test_garbage_leaves_the_last_good_key(tmp_path: Path, text: bytes) -> None:
    good = pem(p256())
    followed = Followed(tmp_path, good)
    assert followed.file.load() is None
    followed.replaced(text)
    assert followed.file.problem is not None
    assert (followed.signer, followed.published) == (kid(good), {kid(good)})
    followed.path.unlink()
    followed.file.look()
    followed.file.look()
    assert "cannot be read" in (followed.file.problem or "")
    assert followed.signer == kid(good)
    followed.replaced(good)
    assert followed.file.problem is None


def test_without_a_file_there_is_no_signer(tmp_path: Path) -> None:
    file = AssertionFile(tmp_path / "absent")
    assert "cannot be read" in (file.load() or "")
    assert file.signer() is None
    assert json.loads(file.key_set()) == {"keys": []}
