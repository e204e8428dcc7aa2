"""Envoy settings with a runtime key: RuntimeFractionalPercent and RuntimeFeatureFlag.

Input: a setting, and the `layered_runtime` of the bootstrap. Output: its value, and what can override it.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Final

from extauthz.proxyconfig.documents import YamlValue

_DENOMINATORS: Final = {
    "HUNDRED": 100, "TEN_THOUSAND": 10_000, "MILLION": 1_000_000,
    "0": 100, "1": 10_000, "2": 1_000_000,
}  # fmt: skip
_CHANGING: Final = ("rtds_layer", "disk_layer")


class RuntimeOverride(Enum):
    """What can override a runtime key of a running Envoy."""

    NOT = "nothing"
    ADMIN = "the admin interface"
    LAYERS = "a runtime layer"


@dataclass(frozen=True, slots=True)
class Runtime:
    """The keys of the static layers of a bootstrap, and what can override them."""

    keys: Mapping[str, YamlValue] = field(default_factory=dict)
    changes: RuntimeOverride = RuntimeOverride.NOT

    @classmethod
    def of(cls, bootstrap: YamlValue) -> "Runtime":
        """Return the runtime of a bootstrap; without layers Envoy adds one for the admin interface."""
        layers = bootstrap.list("layered_runtime", "layers")
        keys: dict[str, YamlValue] = {}
        for layer in layers:
            keys |= dict(_flat(layer.at("static_layer")))
        if any(layer.given(name) is not None for layer in layers for name in _CHANGING):
            return cls(keys, RuntimeOverride.LAYERS)
        is_admin = not layers or any(layer.given("admin_layer") is not None for layer in layers)
        return cls(
            keys,
            RuntimeOverride.ADMIN
            if is_admin and bootstrap.given("admin", "address")
            else RuntimeOverride.NOT,
        )

    def share(self, setting: YamlValue) -> float | None:
        """Return a RuntimeFractionalPercent as a number from 0 to 1; None if it is invalid."""
        override = self._override(setting)
        if override is None:
            return _fraction(setting.given("default_value"))
        if override.entries is not None:
            return _fraction(override)
        number = _number(override)
        return None if number is None else min(number / 100, 1.0)

    def switch(self, setting: YamlValue) -> bool | None:
        """Return a RuntimeFeatureFlag; None if it is invalid."""
        override = self._override(setting)
        if override is not None:
            return override.truth
        default = setting.given("default_value")
        return False if default is None else default.truth

    def may_change(self, setting: YamlValue) -> RuntimeOverride:
        """Return what can override a setting while Envoy runs."""
        return self.changes if setting.word("runtime_key") else RuntimeOverride.NOT

    def _override(self, setting: YamlValue) -> YamlValue | None:
        return self.keys.get(setting.word("runtime_key") or "")


def _fraction(value: YamlValue | None) -> float | None:
    if value is None:
        return 0.0
    numerator = value.given("numerator")
    number = 0.0 if numerator is None else _number(numerator)
    whole = _DENOMINATORS.get(value.word("denominator") or "HUNDRED")
    return None if number is None or whole is None else min(number / whole, 1.0)


def _number(value: YamlValue) -> float | None:
    try:
        return float(value.text or "")
    except ValueError:
        return None


def _flat(layer: YamlValue | None, prefix: str = "") -> Iterator[tuple[str, YamlValue]]:
    if layer is None:
        return
    for name, value in layer.items():
        if prefix + name:
            yield prefix + name, value
        yield from _flat(value, f"{prefix}{name}.")
