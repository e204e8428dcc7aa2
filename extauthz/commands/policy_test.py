"""`extauthz policy test`: run files of decision cases (`cases/decision_cases.py`), one line per case out."""

import sys
from collections.abc import Sequence
from pathlib import Path

from extauthz.cases.decision_cases import CaseInvalidError, case_warnings, run_case_text
from extauthz.commands.status import BAD_USAGE, FAILED, OK, fail, unreadable
from extauthz.compile.roles.role_model import ModelInvalid, compile_model
from extauthz.shipped import shipped


def run(files: Sequence[Path]) -> int:
    """Run the cases of all files; return OK when every answer is the expected one, else FAILED.

    A file that cannot be read, or that holds no cases, ends the run with BAD_USAGE.
    """
    model = compile_model(shipped("policies/model.conf").read_text("utf-8"))
    if isinstance(model, ModelInvalid):
        return fail(model.message)
    differing = total = 0
    for file in files:
        try:
            cases = file.read_bytes()
        except OSError as error:
            return unreadable(file, error)
        before = total
        try:
            for result in run_case_text(cases, model):
                total += 1
                differing += bool(result.differences)
                outcome = "; ".join(result.differences) or "ok"
                print(f"{'FAIL' if result.differences else 'ok  '} {file}: {result.name}: {outcome}")
        except CaseInvalidError as error:
            return fail(f"{file}: {error}", BAD_USAGE)
        if total == before:
            return fail(f"{str(file)!r} holds no cases", BAD_USAGE)
        for warning in case_warnings(cases):
            print(f"warning: {file}: {warning}", file=sys.stderr)
    print(f"{total - differing} of {total} cases as expected")
    return FAILED if differing else OK
