"""Refuse wording that the style of the project excludes; exit 1 if a file has some.

python tools/check_words.py                     examine every file of the checkout that holds text
python tools/check_words.py FILE...             examine these
python tools/check_words.py --changed FILE...   examine those of these that hold text of ours

`WORDING` lists what is refused and what to write instead. Code, comments, texts, names and documents are
examined alike; a phrase counts across a line break, and with underscores as part of a name.
"""

import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parent.parent

SUFFIXES: Final = frozenset(
    {"", ".cfg", ".conf", ".go", ".html", ".js", ".json", ".md", ".proto", ".py", ".pyi", ".sh", ".sql",
     ".svg", ".toml", ".txt", ".yaml", ".yml"}
)  # fmt: skip
"""Files with other suffixes are not examined."""

NOT_OURS: Final = (
    "LICENSE", "constraints.txt", "uv.lock", "deploy/image/", "tests/fuzz/corpus/",
    "tests/benchmarks/results/", "tests/packaging/istio-schemas.json", "extauthz/check/protos/",
    # Applied migrations are compared by their checksums: not even a comment may change.
    "migrations/0002_policies.sql", "migrations/0003_service_api_keys.sql", "migrations/0004_history.sql",
    "migrations/0005_role_binding_authors.sql",
    # Both quote what is refused.
    "tools/check_words.py", "tests/unit/tools/test_check_words.py",
)  # fmt: skip
"""Files, and folders with a final slash: written by others or by a program, or quoting the wording."""

# Between two words of a phrase: white space, the start of a comment on a next line, the underscore of a name.
_GAP: Final = r"(?:[ \t_]+|[ \t]*\n[ \t]*(?:#+|--|//|>)?[ \t]*)"
# A hyphen before it makes it part of a name, such as a code of doctor.
_START: Final = r"(?<![A-Za-z-])"
_END: Final = r"(?![A-Za-z])"
# "is no longer", "is no later than", "there is no" are plain.
_IS_NO: Final = (
    r"(?<!there[\s_])(?:is|are|was|were) (?-i:no)"
    r"(?= (?!(?:longer|more|less|fewer|different|[a-z]{2,}er than)(?![A-Za-z]))[a-z`'\"])"
)
# A relative clause about people is plain; "who" for a caller or a value is not.
_PEOPLE: Final = (
    "person people user users author authors operator operators reader readers contributor contributors "
    "maintainer maintainers attacker attackers reporter reporters developer developers engineer engineers "
    "administrator administrators admin admins"
)
_NOT_PEOPLE: Final = "".join(rf"(?<!{each}\s)(?<!{each},\s)" for each in _PEOPLE.split())


def _phrase(text: str) -> str:
    """Return the pattern of a phrase whose spaces stand for any gap between words."""
    return "(?i)" + _START + text.replace(" ", _GAP) + _END


WORDING: Final[tuple[tuple[re.Pattern[str], str], ...]] = (
    # Quoted, it is the user of that name.
    (
        re.compile(_phrase("(?:(?<![\"'`])nobody|nobody(?![\"'`]))")),
        "'no caller', 'no client', 'no principal'",
    ),
    (re.compile(_phrase("(?:some|any|every)body")), "name the caller, client, peer or principal"),
    (re.compile(_phrase("who(?:m|so)?ever")), "name the caller, client, peer, principal or author"),
    (
        re.compile(_phrase("strangers?")),
        "'an unauthenticated client', 'another tenant', 'an unknown peer'",
    ),
    (
        re.compile(_phrase(_NOT_PEOPLE + "who")),
        "name the caller or value; 'who' only behind a noun for people",
    ),
    (re.compile(_phrase(_IS_NO)), "'is not a ...'"),
    # "there is none" and "none of" are plain; Python's None is something else.
    (
        re.compile(_phrase(r"(?<!there\s)(?:is|are)\s+(?-i:none)(?! of)")),
        "'is missing', 'is invalid', 'is not one'",
    ),
    (re.compile(_phrase("of no use")), "'invalid', 'unusable'"),
    (re.compile(_phrase("the dearest")), "'the most expensive'"),
    (re.compile(_phrase("(?:one|some) too many")), "'exceeds the limit'"),
    (re.compile(_phrase("for good(?! (?:in|reason|measure) )")), "'permanently'"),
    (re.compile(_phrase("so many(?! [a-z]+(?: [a-z]+)? that )")), "name the number or the limit"),
    (re.compile(_phrase("(?:hangs?|hung) up(?: on)?")), "'closes the connection'"),
    (re.compile(_phrase("gibberish")), "'malformed input'"),
    (re.compile(_phrase("beside")), "'next to' of a place, otherwise 'in addition to', 'with'"),
)


_TEST: Final = re.compile(r"`tests/[^`\n]+`")


@dataclass(frozen=True, slots=True)
class Finding:
    """A wording, where it stands, and what to write instead."""

    file: str
    line: int
    text: str
    instead: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.text!r}; write: {self.instead}"


def findings(name: str, text: str) -> Iterator[Finding]:
    """Yield the refused wording in the text of a file, by line; its name counts as line 0."""
    if name.endswith(".md"):
        # The names of tests are examined where the tests are.
        text = _TEST.sub(lambda found: "`" + " " * (len(found[0]) - 2) + "`", text)
    for line, content in ((0, name), (1, text)):
        for pattern, instead in WORDING:
            for match in pattern.finditer(content):
                number = line and line + content.count("\n", 0, match.start())
                yield Finding(name, number, " ".join(match.group().split()), instead)


def is_examined(name: str) -> bool:
    """Tell whether a path of the checkout names a text of ours."""
    ours = not any(name == each or (each.endswith("/") and name.startswith(each)) for each in NOT_OURS)
    return ours and Path(name).suffix in SUFFIXES


def examined_files() -> list[str]:
    """Return the files to examine: those that git tracks, and new ones that it does not ignore."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    return sorted(
        {each for each in listed.split("\0") if each and is_examined(each) and (ROOT / each).is_file()}
    )


def main(arguments: list[str]) -> int:
    """Examine the given files, or all of the checkout's."""
    if arguments[:1] == ["--changed"]:
        arguments = [each for each in arguments[1:] if is_examined(each)]
        if not arguments:
            return 0
    names = [str(Path(each).resolve().relative_to(ROOT)) for each in arguments] or examined_files()
    texts = ((name, (ROOT / name).read_text("utf-8", "replace")) for name in names)
    problems = [each for name, text in texts for each in findings(name, text)]
    for each in problems:
        print(each, file=sys.stderr)
    print(f"{len(names)} files: {len(problems) or 'no'} problems of wording")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
