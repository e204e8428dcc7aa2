"""The former place of `extauthz.cases.decision_cases`."""

from extauthz.cases.decision_cases import (
    CaseInvalidError,
    CaseResult,
    CaseRunner,
    case_warnings,
    run_case_text,
)

__all__ = ["CaseInvalidError", "CaseResult", "CaseRunner", "case_warnings", "run_case_text"]
