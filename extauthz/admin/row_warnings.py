"""Warnings in answers: about what an author may not expect, and about rows that cannot be read."""

from collections.abc import Sequence
from typing import Final

from extauthz.compile.warnings import DocumentWarning, WarningCode
from extauthz.domain.problem import Problem
from extauthz.storage.rows import Document

MAX_NAMED_ROWS: Final = 20


def with_document_warnings(document: Document, warnings: Sequence[DocumentWarning]) -> Document:
    """Return a document with what may surprise its author."""
    shown = [(warning.code.value, warning.pointer, warning.message) for warning in warnings]
    return with_warnings(
        document, [dict(zip(("code", "pointer", "message"), each, strict=True)) for each in shown]
    )


def with_warnings(document: Document, warnings: Sequence[Document]) -> Document:
    """Return a document with further warnings."""
    if not warnings:
        return document
    known = document.get("warnings", [])
    assert isinstance(known, list)
    return document | {"warnings": [*known, *warnings]}


def unreadable_row(problem: Problem, *, in_detail: bool) -> Document:
    """Return the warning about a row that is not in force; only administrators see its content."""
    kind, row_id, pointer = _place(problem)
    what = f"{pointer or 'the row'}: {problem.message}" if in_detail else "it is damaged"
    row = f"the stored {kind.replace('_', ' ')} {row_id}"
    return {
        "code": WarningCode.UNREADABLE_ROW.value,
        "pointer": f"/{kind}/{row_id}{pointer if in_detail else ''}",
        "message": f"{row} is not in force as it is stored: {what}; replace or delete it",
        "kind": kind,
        "id": row_id,
    }


def header_of(problems: Sequence[Problem]) -> str:
    """Return the rows as a list of RFC 9651."""
    return ", ".join(
        f'unreadable_row;kind="{kind}";id="{_quotable(row_id)}"' for kind, row_id, _ in map(_place, problems)
    )


def _quotable(text: str) -> str:
    return "".join(each for each in text if " " <= each <= "~" and each not in '"\\')


def _place(problem: Problem) -> tuple[str, str, str]:
    """Return the kind and id of the row that a problem is about, and the pointer into it."""
    kind, row_id, *rest = [*problem.pointer.split("/")[1:], "", ""]
    return kind, row_id, "".join(f"/{token}" for token in rest if token)
