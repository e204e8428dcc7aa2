"""The text of an `ApiError` has every member of the problem document."""

from extauthz_client import ApiError
from extauthz_client.http import ClientResponse


def refusal(status: int, **members: object) -> ApiError:
    return ClientResponse(status, "Phrase", {}, {"type": "about:blank", "status": status, **members}).problem


def test_every_problem_is_in_the_text_with_its_place() -> None:
    error = refusal(
        422,
        title="Unprocessable Entity",
        detail="the request has 4 problems",
        errors=[
            {"pointer": "/rule_data/value", "message": "is missing"},
            {"parameter": "limit", "message": "is given\ntwice"},
            {"line": 3, "message": "has 5 fields"},
            {"pointer": "", "message": "is not an object"},
        ],
    )
    assert str(error) == (
        "422 Unprocessable Entity: the request has 4 problems; /rule_data/value is missing; "
        "limit is given twice; line 3 has 5 fields; is not an object"
    )
    assert error.summary == "422 Unprocessable Entity: the request has 4 problems"
    assert len(error.errors) == 4


def test_the_reason_is_in_the_text() -> None:
    error = refusal(503, title="Service Unavailable", detail="try again", reason="database_lost")
    assert str(error) == "503 Service Unavailable (database_lost): try again"
    assert error.reason == "database_lost"


def test_the_text_of_an_error_does_not_repeat_the_detail() -> None:
    detail = "the body cannot be read as JSON: not JSON"
    error = refusal(400, title="Bad Request", detail=detail, errors=[{"pointer": "", "message": detail}])
    assert str(error) == f"400 Bad Request: {detail}"


def test_of_many_problems_the_first_ten_are_shown() -> None:
    errors = [{"pointer": f"/{number}", "message": "is wrong"} for number in range(1000)]
    text = str(refusal(422, title="T", detail="D", errors=errors))
    assert "/9 is wrong; and 990 more" in text
    assert "/10 " not in text


def test_an_answer_without_a_problem_document_has_its_phrase() -> None:
    assert str(ClientResponse(502, "Bad Gateway", {}, None).problem) == "502 Bad Gateway"
    assert refusal(403, title="Forbidden", errors=["odd"], reason=7).reason is None
