"""The routes of the REST API: the caller is judged first, and models take no unknown members."""

from collections.abc import Callable
from typing import Annotated, Any, get_args

import pytest
from fastapi import APIRouter, Depends, Query
from pydantic import BaseModel
from starlette.responses import Response

from extauthz.admin.app import served
from extauthz.domain.tenancy import TenancyMode
from extauthz.rest.operation import Operation, Reads
from extauthz.rest.pagination import PageQuery

ROUTES = served(TenancyMode.SAAS)
BY_NAME = pytest.mark.parametrize("route", ROUTES, ids=[str(route.operation_id) for route in ROUTES])


@BY_NAME
def test_the_caller_is_judged_first(route: Operation) -> None:
    # FastAPI itself would read a body before any dependency.
    assert route.get_route_handler() == route.answer
    assert route.dependant.dependencies[0].call is route.requires


@BY_NAME
def test_bodies_and_queries_take_no_unknown_members(route: Operation) -> None:
    body = route.document_body
    models: list[Any] = [] if route.query_model is None else [route.query_model]
    # Operations of a standard protocol get the body as it was sent, and ignore members as it says.
    if body is not None and not body.is_text and route.described_body is None:
        models.append((get_args(body.model) or (body.model,))[0])
    for model in models:
        assert issubclass(model, BaseModel)
        assert model.model_config["extra"] == "forbid"


def test_writes_are_conditional_and_reads_are_not() -> None:
    conditional = {route.operation_id for route in ROUTES if route.requires.conditional}
    writing = {route.operation_id for route in ROUTES if route.methods != {"GET"}}
    assert writing - conditional == {
        "check", "explainDecision", "checkAccess", "checkAccessAlias", "beginAdminSession", "endAdminSession",
        "createSidecarKey", "revokeSidecarKey", "eraseSubject",
        "replayDraft",
        *(
            f"{question}{of}"
            for question in ("evaluate", "evaluateSeveral", "searchSubjects", "searchActions")
            for of in ("", "OfTenant")
        ),
    }  # fmt: skip
    assert conditional <= writing


async def takes_a_dependency(ctx: Reads, other: Annotated[int, Depends(lambda: 1)]) -> Response:
    raise AssertionError(ctx, other)


async def takes_no_context(query: Annotated[PageQuery, Query()]) -> Response:
    raise AssertionError(query)


async def takes_a_context(ctx: Reads) -> Response:
    raise AssertionError(ctx)


@pytest.mark.parametrize(
    ("handler", "options"),
    [
        (takes_a_dependency, {}),
        (takes_no_context, {}),
        (takes_a_context, {"dependencies": [Depends(lambda: 1)]}),
    ],
)
def test_a_handler_that_needs_what_no_operation_reads_is_refused(
    handler: Callable[..., Any], options: dict[str, Any]
) -> None:
    router = APIRouter(route_class=Operation)
    with pytest.raises(TypeError, match="a handler takes ctx, and maybe body and query"):
        router.get("/x", **options)(handler)


def test_a_router_with_dependencies_is_refused() -> None:
    router = APIRouter(route_class=Operation, dependencies=[Depends(lambda: 1)])
    with pytest.raises(TypeError):
        router.get("/x")(takes_a_context)
