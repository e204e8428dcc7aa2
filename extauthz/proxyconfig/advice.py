"""Constructors of findings about files, and the checks that several proxies share.

Input: the `YamlValue` at fault, a stable code, a message and a fix. Output: a `Finding` with file and line.
"""

from collections.abc import Iterator
from typing import Final

from extauthz.proxyconfig.documents import YamlValue, seconds
from extauthz.proxyconfig.findings import Finding, Severity

LONG_S: Final = 1.0
FAR_TOO_LONG_S: Final = 10.0
MOST_BODY_BYTES: Final = 512 * 1024
"""Bytes of a request body in a check request; the largest request head still fits in the same message."""


def at(value: YamlValue, severity: Severity, code: str, message: str, fix: str) -> Finding:
    """Return a finding at one value of a file."""
    return Finding(
        severity=severity,
        code=code,
        subject="files",
        message=message,
        fix=fix,
        file=value.file,
        line=value.line,
    )


def at_line(file: str, line: int, code: str, message: str) -> Finding:
    """Return an error at a line of a file that could not be parsed, so that no `YamlValue` exists there."""
    return Finding(
        severity=Severity.ERROR,
        code=code,
        subject="files",
        message=message,
        fix="write valid YAML or JSON without duplicate members (render a template first)",
        file=file,
        line=line,
    )


def error(value: YamlValue, code: str, message: str, fix: str) -> Finding:
    """Return a finding of severity `error` at one value of a file."""
    return at(value, Severity.ERROR, code, message, fix)


def warning(value: YamlValue, code: str, message: str, fix: str) -> Finding:
    """Return a finding of severity `warning` at one value of a file."""
    return at(value, Severity.WARNING, code, message, fix)


def info(value: YamlValue, code: str, message: str, fix: str) -> Finding:
    """Return a finding of severity `info` at one value of a file."""
    return at(value, Severity.INFO, code, message, fix)


def failing_open(check: YamlValue, member: str, spelling: str) -> Iterator[Finding]:
    """Yield an error if requests are allowed while extauthz is unavailable.

    `member` is the name in snake case; `spelling` is the name in the format of the file.
    """
    if (fails_open := check.unless_false(member)) is not None:
        yield error(
            fails_open,
            "fail-open",
            f"{spelling} is on: every request is allowed whenever extauthz does not answer",
            f"set {spelling}: false",
        )


def timeout(value: YamlValue) -> Finding | None:
    """Return a finding if the timeout of a check is invalid, zero or longer than `LONG_S` seconds."""
    fix = "set the timeout to 0.2s; extauthz answers within it, with a denial if there is no decision yet"
    found = seconds(value)
    if found is None:
        return error(value, "timeout-unreadable", f"the timeout {value.text!r} is not a duration", fix)
    if found == 0:
        return error(value, "timeout-long", "the timeout 0 disables the timeout of a check", fix)
    if found <= LONG_S:
        return None
    severity = Severity.ERROR if found > FAR_TOO_LONG_S else Severity.WARNING
    return at(
        value, severity, "timeout-long", f"a check may take {found:g} s; requests queue up meanwhile", fix
    )


def body(value: YamlValue, name: str) -> Finding | None:
    """Return an error if a proxy sends more than `MOST_BODY_BYTES` of a request body in a check.

    `name` is the name of the limit in the configuration of the proxy.
    """
    written = value.text or ""
    if written.isascii() and written.isdigit() and len(written) < 12 and int(written) <= MOST_BODY_BYTES:
        return None
    return error(
        value,
        "body-large",
        f"{name} includes up to {written or 'an invalid number of'} bytes of the request body in a check: "
        "the message can exceed the limit of extauthz, which then denies the request",
        f"set {name} to CONDITION_BODY_MAX, at most {MOST_BODY_BYTES}; remove it where no rule reads bodies",
    )
