"""The text of one file of a folder becomes policies or sections of decision cases.

A file whose documents have `cases` or `refused` among their members is a file of cases. INVARIANT: a file
that has members of policies, too, is refused: a process that follows the folder would leave out its denies.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from extauthz.cases.case_members import SECTION_MEMBERS
from extauthz.compile.documents.policy_documents import SERVER_MEMBERS
from extauthz.compile.documents.policy_files import MAX_TEXT_BYTES, read_text
from extauthz.compile.documents.yaml_text import alias_refused
from extauthz.compile.fields import shown
from extauthz.domain.problem import Problem, pointer_token

CASE_MEMBERS: Final = frozenset({"cases", "refused"})
_EMPTY: Final = "is empty; write {} where no policies are meant"


@dataclass(frozen=True, slots=True)
class PolicyText:
    """The document of a file of policies."""

    document: object


@dataclass(frozen=True, slots=True)
class CaseText:
    """The sections of a file of decision cases."""

    sections: tuple[Mapping[str, object], ...]


def read_folder_text(
    text: bytes, *, is_json: bool, max_bytes: int | None = MAX_TEXT_BYTES
) -> PolicyText | CaseText | list[Problem]:
    """Read the text of a file; the answer is what is wrong with it as a whole."""
    found = read_text(text, is_json=is_json, aliases=True, max_bytes=max_bytes)
    if isinstance(found, Problem):
        return [found]
    if any(_is_section(document) for document in found.documents):
        problems = list(section_problems(found.documents))
        sections = tuple(each for each in found.documents if isinstance(each, Mapping))
        return problems or CaseText(sections)
    if found.first_alias is not None:
        return [Problem("", alias_refused(found.first_alias))]
    if len(found.documents) > 1:
        count = len(found.documents)
        return [Problem("", f"holds {count} documents separated by '---', one is needed")]
    document = found.documents[0] if found.documents else None
    # So looks a file that is written in place, or that a full disk cut off.
    return [Problem("", _EMPTY)] if document is None else PolicyText(document)


def _is_section(document: object) -> bool:
    return isinstance(document, Mapping) and not CASE_MEMBERS.isdisjoint(document)


def section_problems(documents: list[object]) -> list[Problem]:
    """Return what the sections of a file of cases cannot have as members."""
    problems: list[Problem] = []
    for number, document in enumerate(documents):
        place = section_pointer(number, len(documents))
        if not isinstance(document, Mapping):
            problems.append(Problem(place, f"found {shown(document)}, a section of cases is needed"))
            continue
        if not _is_section(document):
            problems.append(Problem(place, "has neither 'cases' nor 'refused', one is needed"))
        for name in document:
            pointer = f"{place}/{pointer_token(str(name))}"
            if name in SERVER_MEMBERS:
                message = "is next to cases: put policies into a file of their own, or below 'policies'"
                problems.append(Problem(pointer, message))
            elif name not in SECTION_MEMBERS:
                known = ", ".join(sorted(SECTION_MEMBERS))
                problems.append(Problem(pointer, f"is not a member here; known are {known}"))
    return problems


def section_pointer(number: int, sections: int) -> str:
    """Return the pointer of a section: that of the document, or of its number where a file has several."""
    return "" if sections == 1 else f"/{number}"
