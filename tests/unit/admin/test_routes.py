"""The routes of the REST API: the caller is judged first, and models take no unknown members."""

from typing import Any, get_args

import pytest
from pydantic import BaseModel

from extauthz.admin.app import served
from extauthz.admin.operation import Operation
from extauthz.domain.tenancy import TenancyMode

ROUTES = served(TenancyMode.SAAS)
BY_NAME = pytest.mark.parametrize("route", ROUTES, ids=[str(route.operation_id) for route in ROUTES])


@BY_NAME
def test_the_caller_is_judged_first(route: Operation) -> None:
    # FastAPI itself would read a body before any dependency.
    assert route.get_route_handler() == route.answer
    assert route.dependant.dependencies[0].call is route.requires


@BY_NAME
def test_bodies_and_queries_take_no_unknown_members(route: Operation) -> None:
    body = route.reads_body
    models: list[Any] = [] if route.query_model is None else [route.query_model]
    if body is not None and not body.is_text:
        models.append((get_args(body.model) or (body.model,))[0])
    for model in models:
        assert issubclass(model, BaseModel)
        assert model.model_config["extra"] == "forbid"


def test_writes_are_conditional_and_reads_are_not() -> None:
    conditional = {route.operation_id for route in ROUTES if route.requires.conditional}
    writing = {route.operation_id for route in ROUTES if route.methods != {"GET"}}
    assert writing - conditional == {
        "check", "checkAccess", "checkAccessAlias", "beginAdminSession", "endAdminSession",
    }  # fmt: skip
    assert conditional <= writing
