"""The threat model of docs/security.md: every abuse has a proof, and every proof is a test that exists."""

import re
from pathlib import Path

import pytest

from tests.docs.samples import ROOT

PAGE = (ROOT / "docs" / "security.md").read_text(encoding="utf-8")
THREATS = PAGE.split("\n## Threats\n", 1)[1].split("\n## ", 1)[0]
ROWS = [
    [cell.strip() for cell in line.strip("| ").split(" | ")]
    for line in THREATS.splitlines()
    if line.startswith("| ") and not line.startswith(("| abuse", "| ---"))
]


def proofs(cell: str) -> list[str]:
    return re.findall(r"`(tests/[^`]+)`", cell)


@pytest.mark.parametrize("row", [pytest.param(row, id=row[0][:60]) for row in ROWS])
def test_every_abuse_has_a_behaviour_and_a_proof(row: list[str]) -> None:
    assert len(row) == 3
    assert proofs(row[2])


@pytest.mark.parametrize("proof", sorted({proof for row in ROWS for proof in proofs(row[2])}))
def test_every_proof_exists(proof: str) -> None:
    file, _, name = proof.partition("::")
    assert Path(ROOT / file).is_file()
    if name:
        assert re.search(
            rf"^\s*(?:async )?def {name}\(", (ROOT / file).read_text(encoding="utf-8"), re.MULTILINE
        )
