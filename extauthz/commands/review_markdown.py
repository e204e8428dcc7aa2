"""A review of a change as the Markdown of a comment on GitHub.

INVARIANT: whatever a folder or a log says stands in a block of code, whose fence is longer than any run of
backticks in it: there it is neither Markdown, HTML nor a mention of an account. The whole text is shorter
than a comment may be.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

from extauthz.domain.one_line import one_line
from extauthz.recording.report import Json

MOST: Final = 60_000
"""The most UTF-16 code units of a comment; GitHub takes 65,536."""
_MOST_OF_SECTION: Final = 20_000
_LONGEST_LINE: Final = 1_000
_LEFT_OUT: Final = "\n*The rest is left out: a comment has a limit. `--json` has all of it.*\n"
_GROUPS: Final = 20
_EXAMPLES: Final = 10
_CHANGES: Final = (
    ("newly_allowed", "newly allowed"),
    ("newly_denied", "newly denied"),
    ("rule_changed", "decided alike by another rule"),
)


@dataclass(slots=True)
class Review:
    """What is known about a change; each text is one line."""

    name: str
    problems: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    cases: int = 0
    failed: list[str] = field(default_factory=list)
    changes: list[str] = field(default_factory=list)
    counts: str = ""
    """The numbers of the changes, in words."""
    plan: dict[str, object] | None = None
    not_compared: str | None = None
    replay: Json | None = None
    too_many: bool = False
    not_replayed: bool = False
    """The requests that a maximum is given for cannot be counted."""

    @property
    def ok(self) -> bool:
        """Whether there is no problem, no failed case and no maximum that is exceeded or not counted."""
        return not (self.problems or self.failed or self.too_many or self.not_replayed)


def marker(name: str) -> str:
    """Return the first line of the comment on a folder, by which a later review finds it."""
    return f"<!-- extauthz-policy-review {_plain(name)} -->"


def _plain(name: str) -> str:
    """Return a name that means nothing to Markdown and HTML."""
    return re.sub("[^A-Za-z0-9._/-]", "_", name)[:100]


def markdown(review: Review) -> str:
    """Return the comment."""
    title = f"Policy review of `{_plain(review.name)}`"
    verdict = "" if review.ok else ": do not merge this"
    parts = [f"{marker(review.name)}\n### {title}{verdict}\n", _summary(review)]
    for heading, lines in (
        ("Problems", review.problems),
        ("Cases that fail", review.failed),
        ("Warnings", review.warnings),
    ):
        if lines:
            parts.append(f"#### {heading}\n\n{_code(lines)}")
    if review.changes:
        parts.append(f"#### Changes\n\n{_code(map_diff(review.changes), 'diff')}")
    if review.replay is not None:
        parts += _replay(review.replay)
    text, last = "", "\n"
    for part in parts:
        if _size(text) + _size(part) + _size(last) > MOST:
            last = _LEFT_OUT
            break
        text += f"{part}\n"
    return text.rstrip("\n") + last


def map_diff(lines: Sequence[str]) -> list[str]:
    """Return the lines of a plan as a diff colours them: its sign first, `!` for a change."""
    found = []
    for line in lines:
        if line.startswith("~"):
            found.append(f"!{line[1:]}")
        elif line[:4].isspace() and line[4:5] in {"+", "-"}:
            found.append(f"{line[4]}   {line[5:]}")
        else:
            found.append(line)
    return found


def _summary(review: Review) -> str:
    if review.problems:
        return f"The folder is **not valid**: {_counted(len(review.problems), 'problem')}.\n"
    passed = review.cases - len(review.failed)
    cases = f"{passed} of {_counted(review.cases, 'case')} as expected" if review.cases else "no cases"
    said = [f"The folder is valid; {'**' if review.failed else ''}{cases}{'**' if review.failed else ''}."]
    if review.not_compared is not None:
        said.append("The folder without the change cannot be compared with it.")
    elif not review.changes:
        said.append("No policy changes.")
    else:
        said.append(f"The change: {review.counts}.")
    if review.not_replayed:
        said.append("**The log cannot be replayed, so newly allowed requests are not counted.**")
    if review.too_many:
        said.append("**More requests would be newly allowed than may be.**")
    return " ".join(said) + "\n"


def _replay(replay: Json) -> Iterator[str]:
    yield f"#### Replay of {_counted(replay['requests'], 'request')}\n"
    rows = [f"| {words} | {replay[change]['requests']:,} |" for change, words in _CHANGES]
    rows += [
        f"| unchanged | {replay['unchanged']['requests']:,} |",
        f"| cannot be judged | {replay['cannot_say']['requests']:,} |",
    ]
    yield "\n".join(["| what the change would do | requests |", "| --- | ---: |", *rows]) + "\n"
    lines = [line for change, words in _CHANGES for line in _by_rule(replay[change], words)]
    lines += [
        f"{each['requests']:,} cannot be judged: {each['slot']} is {each['state']}"
        for each in replay["cannot_say"]["because"][:_GROUPS]
    ]
    if lines:
        yield _code(lines)


def _by_rule(change: Json, words: str) -> Iterator[str]:
    for group in change["groups"]["rule"][:_GROUPS] if change["requests"] else ():
        rule = group["rule"]
        by = "no rule" if rule is None else f"{rule['kind']} rule {rule['id']}"
        yield f"{group['requests']:,} {words} by {by}"
    for example in change["examples"][:_EXAMPLES]:
        what = f"{example['method']} {example['host']}{example['path']}"
        if example["method"] is None:
            what = f"{example['action']} on {example['resource']}"
        subject = example["subject"] or example["kind"] or "no credential"
        yield f"  for example {what} by {subject}: {example['draft']['because']}"


def _code(lines: Sequence[str], language: str = "text") -> str:
    """Return a block of code, cut where it is too long."""
    shown: list[str] = []
    size = 0
    for line in lines:
        text = one_line(line)
        if _size(text) > _LONGEST_LINE:
            text = f"{text[: _LONGEST_LINE // 2]} ... ({len(text):,} characters)"
        size += _size(text) + 1
        if size > _MOST_OF_SECTION:
            shown.append(f"... and {_counted(len(lines) - len(shown), 'more line')}")
            break
        shown.append(text)
    body = "\n".join(shown)
    fence = "`" * (1 + max([2, *map(len, re.findall("`+", body))]))
    return f"{fence}{language}\n{body}\n{fence}\n"


def _size(text: str) -> int:
    return len(text.encode("utf-16-le")) // 2


def _counted(count: int, noun: str) -> str:
    return f"{count:,} {noun}{'' if count == 1 else 's'}"
