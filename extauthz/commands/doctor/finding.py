"""The constructor of findings about settings."""

from extauthz.proxyconfig.findings import Finding, Severity


def finding(severity: Severity, code: str, message: str, fix: str) -> Finding:
    """Return a finding about the settings."""
    return Finding(severity=severity, code=code, subject="settings", message=message, fix=fix)
