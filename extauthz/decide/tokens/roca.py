"""The fingerprint of RSA keys made by Infineon's broken library (ROCA, CVE-2017-15361).

Nemec et al., "The Return of Coppersmith's Attack" (ACM CCS 2017), 2.2 and 3: both primes of such a key have
the form k * M + (65537^a mod M), where M is a product of the first primes, 2 * 3 * 5 * ... * 167 at least. So
the modulus, too, is a power of 65537 modulo M, and the private key can be computed from it. Of random moduli
about one in 2^150 looks like this.
"""

from math import gcd, prod
from typing import Final

_GENERATOR: Final = 65537
_PRIMES: Final = tuple(n for n in range(3, 168, 2) if all(n % divisor for divisor in range(3, n, 2)))
_PRIMORIAL: Final = prod(_PRIMES)


def _logarithms(prime: int) -> dict[int, int]:
    """Return the exponent of each power of the generator modulo `prime`; as many as the generator's order."""
    exponents: dict[int, int] = {}
    power = 1
    while power not in exponents:
        exponents[power] = len(exponents)
        power = power * _GENERATOR % prime
    return exponents


_LOGARITHMS: Final = tuple((prime, _logarithms(prime)) for prime in _PRIMES)


def has_roca_fingerprint(modulus: int) -> bool:
    """Whether `modulus` is a power of 65537 modulo the product of the odd primes up to 167.

    The exponents modulo each prime are put together by the Chinese remainder theorem; there is no such power
    when one is missing or two contradict each other.
    """
    residue = modulus % _PRIMORIAL
    exponent, period = 0, 1
    for prime, logarithms in _LOGARITHMS:
        found = logarithms.get(residue % prime)
        if found is None:
            return False
        order = len(logarithms)
        common = gcd(period, order)
        if (found - exponent) % common:
            return False
        step = order // common
        exponent += period * ((found - exponent) // common * pow(period // common, -1, step) % step)
        period *= step
    return True
