"""The fingerprint of ROCA keys: found in moduli of that structure, in no others, and never a usable key."""

import random
from math import prod

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

from extauthz.decide.tokens.jwks import KeySet, parse_jwks
from extauthz.decide.tokens.roca import has_roca_fingerprint
from tests.tokens import SigningKey, jwks, unsigned

PRIMES = [n for n in range(2, 1430) if all(n % divisor for divisor in range(2, int(n**0.5) + 1))]
ORDINARY = 100_000


def is_prime(number: int, chance: random.Random) -> bool:
    """Miller and Rabin's test, four rounds."""
    if any(number % prime == 0 for prime in PRIMES[:50]):
        return number in PRIMES
    odd, twos = number - 1, 0
    while odd % 2 == 0:
        odd, twos = odd // 2, twos + 1
    for _ in range(4):
        power = pow(chance.randrange(2, number - 1), odd, number)
        if power in (1, number - 1):
            continue
        for _ in range(twos - 1):
            power = power * power % number
            if power == number - 1:
                break
        else:
            return False
    return True


def roca_prime(bits: int, primes: int, chance: random.Random) -> int:
    """Return a prime k * M + (65537^a mod M) with M the product of the first `primes` primes."""
    modulus = prod(PRIMES[:primes])
    while True:
        highest = (1 << bits) // modulus
        candidate = chance.randrange(highest * 3 // 4, highest) * modulus
        candidate += pow(65537, chance.getrandbits(64), modulus)
        if is_prime(candidate, chance):
            return candidate


# With these seeds the first candidate is prime; a search for one takes seconds.
@pytest.mark.parametrize(
    ("bits", "primes", "seeds"),
    [(2048, 126, (13, 57)), (2048, 39, (76, 104)), (3072, 126, (88, 212)), (4096, 225, (54, 85))],
)
def test_a_key_with_the_structure_is_found_and_ignored(
    bits: int, primes: int, seeds: tuple[int, int]
) -> None:
    modulus = prod(roca_prime(bits // 2, primes, random.Random(seed)) for seed in seeds)
    assert modulus.bit_length() == bits
    assert has_roca_fingerprint(modulus)

    keys = parse_jwks(jwks(SigningKey.rs256(), SigningKey.rs256("weak").jwk(n=unsigned(modulus))))

    assert isinstance(keys, KeySet)
    assert [key.kid for key in keys.keys] == ["rsa"]
    assert [(key.kid, "ROCA" in key.problem) for key in keys.ignored] == [("weak", True)]


def test_ordinary_keys_have_no_fingerprint() -> None:
    chance = random.Random(20171013)
    assert not any(has_roca_fingerprint(chance.getrandbits(2048) | 1) for _ in range(ORDINARY))
    for size in (2048, 3072):
        public = rsa.generate_private_key(public_exponent=65537, key_size=size).public_key()
        assert not has_roca_fingerprint(public.public_numbers().n)


def test_one_ordinary_prime_removes_the_fingerprint() -> None:
    chance = random.Random(1)
    ordinary = rsa.generate_private_key(public_exponent=65537, key_size=2048).private_numbers().p
    assert not has_roca_fingerprint(roca_prime(1024, 126, chance) * ordinary)


def test_a_power_modulo_each_prime_alone_is_not_enough() -> None:
    """2.8 in a thousand million random moduli look so: each residue is a power, but not of one exponent."""
    small = PRIMES[1:39]
    modulus = prod(small)
    residues = [65537 % prime if place % 2 else 1 for place, prime in enumerate(small)]
    together = sum(
        residue * (modulus // prime) * pow(modulus // prime, -1, prime)
        for residue, prime in zip(residues, small, strict=True)
    )
    assert not has_roca_fingerprint(together % modulus + modulus * (1 << 1900))
    assert has_roca_fingerprint(65537 + modulus * (1 << 1900))
