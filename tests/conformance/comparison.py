"""Compares requests and results with what a case says."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Literal
from urllib.parse import parse_qsl, unquote, urlsplit


@dataclass(frozen=True)
class Request:
    """A request as it arrived."""

    method: str
    target: str
    headers: list[tuple[str, str]]
    body: bytes

    def header(self, name: str) -> str | None:
        """Return a header; the values of several, joined."""
        values = [value for each, value in self.headers if each == name]
        return ", ".join(values) if values else None

    def form(self) -> list[tuple[str, str]]:
        """Return the fields of a form."""
        return parse_qsl(self.body.decode(), keep_blank_values=True, strict_parsing=True)


def request_differences(expected: Mapping[str, Any], found: Request) -> Iterator[str]:
    """Yield how a request differs from what an exchange says of it."""
    method, _, target = expected["request"].partition(" ")
    if (method, _place(target)) != (found.method, _place(found.target)):
        yield f"the request is {found.method} {found.target}, not {expected['request']}"
    if not found.target.isascii():
        yield f"the request target {found.target!r} is not ASCII"
    for name, value in expected.get("headers", {}).items():
        if found.header(name) != value:
            yield f"the header {name} is {found.header(name)!r}, not {value!r}"
    yield from _body_differences(expected, found)


def _place(target: str) -> tuple[list[str], list[tuple[str, str]]]:
    parts = urlsplit(target)
    query = parse_qsl(parts.query, keep_blank_values=True)
    return [unquote(each, errors="strict") for each in parts.path.split("/")], sorted(query)


def _body_differences(expected: Mapping[str, Any], found: Request) -> Iterator[str]:
    kind = (found.header("content-type") or "").partition(";")[0]
    if "json" in expected:
        if kind != "application/json":
            yield f"the content type of the body is {kind!r}"
        try:
            document = json.loads(found.body, parse_float=Decimal)
        except ValueError:
            yield f"the body {found.body!r} is not JSON"
        else:
            yield from differences(expected["json"], document, "body")
        for digits in expected.get("digits", []):
            if digits.encode() not in found.body:
                yield f"the body {found.body!r} does not contain {digits!r}"
    elif "form" in expected:
        if kind != "application/x-www-form-urlencoded":
            yield f"the content type of the form is {kind!r}"
        wanted = [
            (name, each)
            for name, value in expected["form"].items()
            for each in (value if isinstance(value, list) else [value])
        ]
        fields = [
            field for field in found.form() if "assertion" not in expected or field[0] != "client_assertion"
        ]
        if sorted(wanted) != sorted(fields):
            yield f"the form is {found.form()}, not {wanted}"
    elif found.body:
        yield f"the request has the body {found.body!r}"


def differences(expected: Any, found: Any, place: str = "result") -> Iterator[str]:
    """Yield how a document differs; numbers are compared by their exact values, null as an absent member."""
    match expected, found:
        case (bool(), _) | (_, bool()):
            if expected is not found:
                yield f"{place} is {found!r}, not {expected!r}"
        case ((int() | float() | Decimal()), (int() | float() | Decimal())):
            if exact(expected) != exact(found):
                yield f"{place} is {found!r}, not {expected!r}"
        case Mapping(), Mapping():
            for name in sorted({*expected, *found}):
                yield from differences(expected.get(name), found.get(name), f"{place}.{name}")
        case list(), list():
            if len(expected) != len(found):
                yield f"{place} has {len(found)} entries, not {len(expected)}: {found!r:.500}"
            for index, (one, other) in enumerate(zip(expected, found, strict=False)):
                yield from differences(one, other, f"{place}[{index}]")
        case _:
            if expected != found:
                yield f"{place} is {found!r:.500}, not {expected!r}"


def exact(number: float | Decimal) -> Decimal:
    """Return a number by the digits that it is written with."""
    return Decimal(repr(number)) if isinstance(number, float) else Decimal(number)


ErrorKind = Literal["api", "unreachable", "unexpected", "client", "argument"]


@dataclass(frozen=True)
class Failure:
    """An error that a call raised, in the terms of the cases."""

    kind: ErrorKind
    text: str
    status: int | None = None
    title: str | None = None
    detail: str | None = None
    reason: str | None = None
    errors: tuple[Mapping[str, object], ...] = ()
    retry_after: float | None = None


def failure_differences(expected: Mapping[str, Any], found: Failure) -> Iterator[str]:
    """Yield how an error differs."""
    if expected["kind"] != found.kind:
        yield f"the error is of the kind {found.kind}, not {expected['kind']}: {found.text}"
    for name in ("status", "title", "detail", "reason"):
        if name in expected and expected[name] != getattr(found, name):
            yield f"the error's {name} is {getattr(found, name)!r}, not {expected[name]!r}"
    if "retry_after" in expected:
        yield from differences(expected["retry_after"], found.retry_after, "the error's retry_after")
    if "errors" in expected:
        known = [
            {name: error[name] for name in ("pointer", "parameter", "line", "message") if name in error}
            for error in found.errors
        ]
        yield from differences(expected["errors"], known, "errors")
    yield from (
        f"the text {found.text!r} lacks {each!r}"
        for each in expected.get("text", [])
        if each not in found.text
    )
    yield from (
        f"the text {found.text!r} has {each!r}" for each in expected.get("not_text", []) if each in found.text
    )
