"""Content types of bodies that conditions read."""

import pytest

from extauthz.domain.content_type import BodyForm, body_form


@pytest.mark.parametrize(
    ("content_type", "form"),
    [
        (b"application/json", BodyForm.JSON),
        (b" Application/JSON\t", BodyForm.JSON),
        (b"application/json;charset=utf-8", BodyForm.JSON),
        (b'application/json; charset="UTF-8"', BodyForm.JSON),
        (b"application/vnd.api+json; ext=bulk", BodyForm.JSON),
        (b"application/x-www-form-urlencoded; charset=UTF-8", BodyForm.FORM),
        (b"application/json; charset=utf-16", None),
        (b"application/json; charset=utf-8; charset=utf-16", None),
        (b"application/json; charset=utf-8; charset*=utf-16", None),
        (b"application/json; charset*=utf-8''utf-16", None),
        (b"application/x-www-form-urlencoded; charset*0=utf-7", None),
        (b'application/json; x="a;b"', None),
        (b"application/json;", None),
        (b"application/json, text/plain", None),
        (b"application/json; charset = utf-8", None),
        (b"application/jsonp", None),
        (b"application/json5", None),
        (b"text/json", None),
        (b"text/plain", None),
        (b"multipart/form-data; boundary=x", None),
        (b"json", None),
        (b"/json", None),
        (b"", None),
        (b"application/json\0", None),
        (b"\xff/x+json", None),
    ],
)
def test_only_json_and_forms_in_utf_8_have_a_form(content_type: bytes, form: BodyForm | None) -> None:
    assert body_form(content_type) is form
