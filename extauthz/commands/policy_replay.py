"""`extauthz policy replay`: what a folder of draft policies would change for the requests of a decision log.

Input: the log, the folder of the policies that were in force, the folder of the draft. Output: what would be
newly allowed and newly denied, by which rules, with examples; what cannot be said, and which values would be
needed. docs/replay.md has the step of a pull request.
"""

import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import orjson

from extauthz.commands.status import BAD_USAGE, OK, fail, print_json, unreadable
from extauthz.compile.snapshot import Snapshot
from extauthz.decide.line_question import LogMembers
from extauthz.decisionlog.reading import LogLine, LogUnreadableError, read_lines
from extauthz.domain.tenancy import DEFAULT_TENANT
from extauthz.publish.files import PolicyDirectory
from extauthz.recording.compare import Comparison, Period
from extauthz.recording.log_lines import LineReader, as_recorded, instant_of
from extauthz.recording.question import POLICIES, Question
from extauthz.recording.replay_policies import ReplayPolicies
from extauthz.recording.report import Json, Report
from extauthz.runtime.policies import policy_reading, role_model
from extauthz.runtime.start_refused import StartRefusedError
from extauthz.settings import CorsPreflight, Settings, load_settings
from extauthz.telemetry import logs

_SETTINGS: Final = ("CASBIN_MODEL_PATH", "CLAIM_HEADERS", "CONDITION_HEADERS", "CORS_PREFLIGHT", "UNMAPPED")
"""The settings that judging and reading documents depend on."""
_SHOWN_PROBLEMS: Final = 20
_SHOWN: Final = 10


@dataclass(frozen=True, slots=True)
class ReplayArguments:
    """What the command was given. Without `max_newly_allowed` no number of requests fails it."""

    log: Path
    policies: Path
    draft: Path
    max_newly_allowed: int | None = None
    tenant: str = DEFAULT_TENANT
    masked: frozenset[str] = frozenset()
    as_json: bool = False


@dataclass(slots=True)
class _Lines:
    """What the lines of the log were."""

    decisions: int = 0
    of_other_tenants: int = 0
    sampled_out: int = 0
    unusable: int = 0
    first_unusable: str = ""


@dataclass(frozen=True, slots=True)
class Replayed:
    """What a replay found; `too_many` requests would be newly allowed where that is above the maximum."""

    result: Json
    newly_allowed: int
    too_many: bool


def run(environ: Mapping[str, str], given: ReplayArguments) -> int:
    """Replay the log; FAILED where more requests would be newly allowed than may be."""
    found = replay(environ, given)
    if isinstance(found, int):
        return found
    if given.as_json:
        print_json(not found.too_many, **found.result)
    else:
        print("\n".join(_shown(found.result)))
        sampled_out = found.result["lines"]["sampled_out"]
        if sampled_out:
            print(f"{sampled_out} more allows, of all tenants, have no line: the log has a sample")
    if found.too_many:
        most = given.max_newly_allowed
        return fail(f"{found.newly_allowed} requests would be newly allowed; at most {most} may be")
    return OK


def replay(environ: Mapping[str, str], given: ReplayArguments) -> Replayed | int:
    """Return the result; an exit status where the log or a folder cannot be used, which has been reported."""
    if given.max_newly_allowed is not None and given.max_newly_allowed < 0:
        return fail(f"--max-newly-allowed is {given.max_newly_allowed}; it must be 0 or more", BAD_USAGE)
    settings = load_settings(
        {name: environ[name] for name in _SETTINGS if name in environ}
        | {"POLICY_SOURCE": f"files:{given.policies.absolute()}"},
        serving=False,
    )
    if isinstance(settings, list):
        return fail("; ".join(settings), BAD_USAGE)
    # Without a configuration structlog prints on stdout, where the answer is.
    logs.configure(settings.log_level, settings.log_format)
    try:
        live, draft = (_policies(folder, settings) for folder in (given.policies, given.draft))
    except StartRefusedError as refused:
        return fail(str(refused), BAD_USAGE)
    if live is None or draft is None:
        return BAD_USAGE
    lines = _Lines()
    try:
        report = _replayed(read_lines([given.log]), live, draft, given, settings, lines)
    except LogUnreadableError as error:
        return fail(str(error), BAD_USAGE)
    if lines.decisions == 0:
        return fail(_nothing_to_judge(given, lines), BAD_USAGE)
    result = report.result() | {
        "lines": {
            "of_other_tenants": lines.of_other_tenants,
            "unusable": lines.unusable,
            "sampled_out": lines.sampled_out,
        }
    }
    if lines.unusable:
        print(f"extauthz: {lines.unusable} lines are left out; {lines.first_unusable}", file=sys.stderr)
    most = given.max_newly_allowed
    return Replayed(result, report.newly_allowed, most is not None and report.newly_allowed > most)


def _policies(folder: Path, settings: Settings) -> Snapshot | None:
    """Compile a folder; every problem is printed. Raises StartRefusedError for the model."""
    directory = PolicyDirectory(
        folder, policy_reading(settings), role_model(settings), max_bytes=settings.policy_max_bytes
    )
    try:
        found = directory.load(1)
    except OSError as error:
        unreadable(folder, error)
        return None
    if isinstance(found, Snapshot):
        return found
    for problem in found[:_SHOWN_PROBLEMS]:
        fail(f"{folder}: {problem}")
    return None


def _replayed(
    log: Iterable[LogLine],
    live_policies: Snapshot,
    draft_policies: Snapshot,
    given: ReplayArguments,
    settings: Settings,
    lines: _Lines,
) -> Report:
    live, draft = ReplayPolicies.of(live_policies), ReplayPolicies.of(draft_policies, live_policies)
    comparison, report = Comparison(live, draft), Report(live, draft)
    preflights = settings.cors_preflight is CorsPreflight.POLICY
    reader = LineReader(given.tenant, POLICIES[settings.unmapped], given.masked, preflights)
    for line, question, at in _questions(log, reader, lines):
        asked = as_recorded(question, line, comparison.live, at)
        report.begin()
        report.add(asked, comparison.difference(asked, Period(at, at)), 1, at)
    return report


def _questions(
    log: Iterable[LogLine], reader: LineReader, lines: _Lines
) -> Iterator[tuple[LogMembers, Question, float]]:
    """Yield what the decisions of the tenant asked, and when."""
    for _, number, text, _ in log:
        try:
            line: Any = orjson.loads(text)
        except orjson.JSONDecodeError:
            line = None
        if not isinstance(line, dict):
            _note(lines, number, "is not a JSON object")
            continue
        left_out = line.get("sampled_out_since_last")
        lines.sampled_out += left_out if isinstance(left_out, int) else 0
        if line.get("event") != "decision":
            continue
        if line.get("tenant") != reader.tenant:
            lines.of_other_tenants += 1
            continue
        question, at = reader.question(line), instant_of(line)
        if isinstance(question, str):
            _note(lines, number, question)
            continue
        if at is None:
            _note(lines, number, "its ts is not a time")
            continue
        lines.decisions += 1
        yield line, question, at


def _note(lines: _Lines, number: int, problem: str) -> None:
    lines.unusable += 1
    lines.first_unusable = lines.first_unusable or f"the first is line {number}: {problem}"


def _nothing_to_judge(given: ReplayArguments, lines: _Lines) -> str:
    found = f"{str(given.log)!r} has no decision of the tenant {given.tenant!r}"
    if lines.of_other_tenants:
        return f"{found}, and {lines.of_other_tenants} of others; name another with --tenant"
    return f"{found}; {lines.first_unusable}" if lines.unusable else found


def _shown(result: Json) -> Iterator[str]:
    """Yield the lines of the report for people."""
    yield f"{result['requests']} requests"
    for change, words in (
        ("newly_allowed", "would be newly allowed"),
        ("newly_denied", "would be newly denied"),
        ("rule_changed", "would be decided alike by another rule"),
    ):
        found = result[change]
        least = "" if found["subjects_complete"] else "at least "
        yield f"{found['requests']} {words}, of {least}{found['subjects']} subjects"
        for group in found["groups"]["rule"][:_SHOWN] if found["requests"] else ():
            rule = group["rule"]
            by = "no rule" if rule is None else f"{rule['kind']} rule {rule['id']}"
            yield f"  {group['requests']} by {by}"
        for example in found["examples"][:_SHOWN]:
            yield f"  for example {_example(example)}"
    yield f"{result['unchanged']['requests']} unchanged"
    cannot_say = result["cannot_say"]
    yield f"{cannot_say['requests']} cannot be judged"
    for reason in cannot_say["because"]:
        yield f"  {reason['requests']}: {reason['slot']} is {reason['state']}"


def _example(example: Json) -> str:
    subject = example["subject"] or example["kind"] or "no credential"
    what = f"{example['method']} {example['host']}{example['path']}"
    if example["method"] is None:
        what = f"{example['action']} on {example['resource']}"
    return f"{what} by {subject}: {example['draft']['because']} (live: {example['live']['because']})"
