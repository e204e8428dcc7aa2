"""Run the examinations in order; print their findings together."""

import asyncio
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from extauthz.commands.body_readers import body_reader_of
from extauthz.commands.doctor.database import examine_database
from extauthz.commands.doctor.finding import finding
from extauthz.commands.doctor.identity_provider import examine_identity_provider
from extauthz.commands.doctor.settings import are_given, examine_environment, examine_settings
from extauthz.commands.self_check.subjects import Subject, interpreter, wrong_rows
from extauthz.commands.status import BAD_USAGE, FAILED, OK, fail
from extauthz.proxyconfig.body_settings import BodyNeed
from extauthz.proxyconfig.files import UnreadableFile, examine_files, files_in
from extauthz.proxyconfig.findings import DoctorReport, Finding, Severity
from extauthz.proxyconfig.http_services import HttpSettings
from extauthz.runtime.issuers import configured_sources
from extauthz.runtime.start_refused import StartRefusedError
from extauthz.settings import CorsPreflight, PostgresSource, Settings, load_settings


def run(environ: Mapping[str, str], paths: Sequence[Path], *, strict: bool, as_json: bool) -> int:
    """Print the report; return OK, FAILED for a report with errors, BAD_USAGE for a path that is missing."""
    report = diagnose(environ, paths, strict=strict)
    if isinstance(report, UnreadableFile):
        return fail(report.message, BAD_USAGE)
    sys.stdout.write(report.as_json().decode() + "\n" if as_json else report.as_text())
    return FAILED if report.failed else OK


def diagnose(
    environ: Mapping[str, str], paths: Sequence[Path], *, strict: bool = False
) -> DoctorReport | UnreadableFile:
    """Examine the settings and what they lead to, and the given files.

    With files and no setting of ours in the environment only the files are examined. With `strict` what
    could not be examined is an error.
    """
    in_files = examine_files(
        paths,
        _header_names(environ, "CONDITION_HEADERS"),
        claims=_header_names(environ, "CLAIM_HEADERS"),
        http=_http_settings(environ),
        bodies=_body_need(environ) if paths else None,
        preflights=environ.get("CORS_PREFLIGHT", "").strip() == CorsPreflight.POLICY,
        strict=strict,
    )
    if isinstance(in_files, UnreadableFile):
        return in_files
    examined: list[str] = []
    findings = [*_interpreter(), *in_files]
    if are_given(environ) or not paths:
        findings += asyncio.run(_service(environ, examined))
    else:
        findings.append(
            finding(
                Severity.INFO,
                "settings-absent",
                "no variable of extauthz is set, so only the files were examined",
                "run it with the environment of the service to have settings, database and provider examined",
            )
        )
    if paths:
        number = len(files_in(paths))
        examined.append(f"{number} files" if number != 1 else "1 file")
    return DoctorReport.of(examined, findings, strict=strict)


def _header_names(environ: Mapping[str, str], variable: str) -> frozenset[str] | None:
    """Return the names that a variable of the service lists; None: its environment is not here."""
    if not are_given(environ):
        return None
    # Invalid names are reported with the other settings.
    return frozenset(filter(None, map(str.strip, environ.get(variable, "").lower().split(","))))


def _http_settings(environ: Mapping[str, str]) -> HttpSettings | None:
    """Return what concerns checks over HTTP; None: the environment of the service is not here."""
    if not are_given(environ):
        return None
    token_header = environ.get("TOKEN_HEADER", "").strip().lower() or None
    return HttpSettings(environ.get("HTTP_AUTHZ_PATH_PREFIX", "").strip(), token_header)


def _body_need(environ: Mapping[str, str]) -> BodyNeed | None:
    """Return what the policies of files read of bodies; None where they read none, or cannot be read."""
    settings = load_settings(environ, serving=False) if are_given(environ) else None
    if not isinstance(settings, Settings) or not settings.condition_body_max:
        return None
    reader = body_reader_of(settings)
    return BodyNeed(reader, settings.condition_body_max) if isinstance(reader, str) else None


def _interpreter() -> Iterator[Finding]:
    for wrong in wrong_rows(Subject.EVERYTHING):
        yield Finding(
            severity=Severity.ERROR,
            code="self-check",
            subject="interpreter",
            message=f"{interpreter()}: {wrong}",
            fix="no command that decides starts here; use another version of Python, or the locked packages",
        )


async def _service(environ: Mapping[str, str], examined: list[str]) -> list[Finding]:
    examined.append("settings")
    loaded = load_settings(environ)
    problems = [] if isinstance(loaded, Settings) else loaded
    findings = list(examine_environment(environ, problems))
    # What an identity provider needs may be missing; the database can be examined all the same.
    settings = loaded if isinstance(loaded, Settings) else load_settings(environ, serving=False)
    if not isinstance(settings, Settings):
        return findings
    findings += examine_settings(settings)
    if isinstance(settings.policy_source, PostgresSource):
        examined.append("database")
        findings += await examine_database(settings)
    try:
        sources = configured_sources(settings)
    except StartRefusedError as refused:
        return [*findings, *examine_environment({}, [str(refused)])]
    for source in sources:
        examined.append("identity provider")
        findings += await examine_identity_provider(settings, source)
    return findings
