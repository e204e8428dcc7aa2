"""How a finding in a file is made: each examination names its code, what it saw, and the fix."""

from collections.abc import Iterator
from typing import Final

from extauthz.proxyconfig.documents import Value, seconds
from extauthz.proxyconfig.findings import Finding, Severity

LONG_S: Final = 1.0
FAR_TOO_LONG_S: Final = 10.0
MOST_BODY_BYTES: Final = 512 * 1024
"""Of a request's body in a check; with it the largest request head still fits into one message."""


def at(value: Value, severity: Severity, code: str, message: str, fix: str) -> Finding:
    """Return a finding about one value of a file."""
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
    """Return an error about a place that holds no value, because it cannot be read."""
    return Finding(
        severity=Severity.ERROR,
        code=code,
        subject="files",
        message=message,
        fix="write it as YAML or JSON that has one meaning (a template: render it first)",
        file=file,
        line=line,
    )


def error(value: Value, code: str, message: str, fix: str) -> Finding:
    """Return an error about one value of a file."""
    return at(value, Severity.ERROR, code, message, fix)


def warning(value: Value, code: str, message: str, fix: str) -> Finding:
    """Return a warning about one value of a file."""
    return at(value, Severity.WARNING, code, message, fix)


def info(value: Value, code: str, message: str, fix: str) -> Finding:
    """Return a remark about one value of a file."""
    return at(value, Severity.INFO, code, message, fix)


def failing_open(check: Value, member: str, spelling: str) -> Iterator[Finding]:
    """Judge whether requests pass without a decision; `spelling` is how the file's format writes `member`."""
    if (fails_open := check.unless_false(member)) is not None:
        yield error(
            fails_open,
            "fail-open",
            f"{spelling} is on: whenever extauthz does not answer, every request passes",
            f"set {spelling}: false",
        )


def timeout(value: Value) -> Finding | None:
    """Judge how long a proxy waits for a decision."""
    fix = "set the timeout to 0.2s; extauthz answers within it, with a denial if it must"
    found = seconds(value)
    if found is None:
        return error(value, "timeout-unreadable", f"the timeout {value.text!r} is no duration", fix)
    if found == 0:
        return error(value, "timeout-long", "the timeout 0 means that a check may hang for ever", fix)
    if found <= LONG_S:
        return None
    severity = Severity.ERROR if found > FAR_TOO_LONG_S else Severity.WARNING
    return at(
        value, severity, "timeout-long", f"a check may take {found:g} s; requests pile up meanwhile", fix
    )


def body(value: Value, name: str) -> Finding | None:
    """Judge how much of a request's body a proxy sends along; `name` is the proxy's for the limit."""
    written = value.text or ""
    if written.isascii() and written.isdigit() and len(written) < 12 and int(written) <= MOST_BODY_BYTES:
        return None
    return error(
        value,
        "body-large",
        f"{name} sends bodies of up to {written or 'no number of'} bytes along: a check can become larger "
        "than extauthz takes, and is denied",
        f"remove the body, which decides nothing, or set {name} to {MOST_BODY_BYTES} at most",
    )
