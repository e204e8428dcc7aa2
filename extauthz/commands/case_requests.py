"""The former place of `extauthz.cases.case_requests`."""

from extauthz.cases.case_requests import RequestInvalidError, asked_by_preflight, read_case_request

__all__ = ["RequestInvalidError", "asked_by_preflight", "read_case_request"]
