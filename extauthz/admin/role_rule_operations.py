"""The operations on role rules, for the router and for the OpenAPI document."""

from http import HTTPStatus
from typing import Final

from extauthz.admin import examples, role_rules
from extauthz.admin.operation import PAGING, Answer, Content, Operation, Parameter, Who
from extauthz.domain.policy import SubjectKind
from extauthz.domain.reasons import Effect

_REVISIONED: Final = ("X-Policy-Revision", "ETag")
_STORED: Final = Content("RoleRule", examples.ROLE_RULE_STORED)
_DOCUMENT: Final = Content("RoleRuleDocument", examples.ROLE_RULE)
_FILTERS: Final = (
    Parameter("obj", "only rules on this resource"),
    Parameter("sub", "only rules for this subject"),
    Parameter("dom", "only rules of this domain"),
)
_BY_VALUE: Final = (
    "Found by exactly (sub, dom, obj, act), else as the only rule with (sub, dom, obj); several are 409 with "
    "their ids."
)

OPERATIONS: Final = (
    Operation(
        method="GET",
        path=role_rules.PATH,
        name="listRoleRules",
        tag="Role rules",
        who=Who.POLICY_READER,
        handler=role_rules.list_rules,
        summary="List role rules",
        parameters=(*_FILTERS, *PAGING),
        answers=(
            Answer(
                HTTPStatus.OK,
                "A page of rules",
                Content("RoleRulePage", examples.page_of(examples.ROLE_RULE_STORED)),
            ),
        ),
    ),
    Operation(
        method="POST",
        path=role_rules.PATH,
        name="createRoleRule",
        tag="Role rules",
        who=Who.POLICY_WRITER,
        handler=role_rules.create,
        summary="Create a role rule",
        description="A Casbin `p` line. A rule that says the same as another is 409.",
        body=_DOCUMENT,
        preconditions=True,
        answers=(Answer(HTTPStatus.CREATED, "The rule", _STORED, (*_REVISIONED, "Location")),),
        problems=(HTTPStatus.CONFLICT,),
    ),
    Operation(
        method="PUT",
        path=role_rules.PATH,
        name="replaceRoleRuleByValue",
        tag="Role rules",
        who=Who.POLICY_WRITER,
        handler=role_rules.replace_by_value,
        summary="Replace a role rule found by its value",
        description=f"{_BY_VALUE} The rule then reads as the body does.",
        body=_DOCUMENT,
        preconditions=True,
        answers=(Answer(HTTPStatus.OK, "The rule", _STORED, _REVISIONED),),
        problems=(HTTPStatus.NOT_FOUND, HTTPStatus.CONFLICT),
    ),
    Operation(
        method="DELETE",
        path=role_rules.PATH,
        name="deleteRoleRuleByValue",
        tag="Role rules",
        who=Who.POLICY_WRITER,
        handler=role_rules.delete_by_value,
        summary="Delete a role rule found by its value",
        description=f"{_BY_VALUE} The value is in the body or in the query.",
        parameters=(
            Parameter("sub", "the subject"),
            Parameter("dom", "the domain"),
            Parameter("obj", "the resource"),
            Parameter("act", "the action"),
            Parameter("sub_kind", "narrows it down", {"type": "string", "enum": list(SubjectKind)}),
            Parameter("effect", "narrows it down", {"type": "string", "enum": list(Effect)}),
        ),
        body=Content("RoleRuleValue", {"sub": "finance", "dom": "*", "obj": "invoice:read"}, required=False),
        preconditions=True,
        answers=(Answer(HTTPStatus.NO_CONTENT, "The rule is gone", headers=("X-Policy-Revision",)),),
        problems=(HTTPStatus.NOT_FOUND, HTTPStatus.CONFLICT),
    ),
    Operation(
        method="GET",
        path=role_rules.PATH + "/{id}",
        name="getRoleRule",
        tag="Role rules",
        who=Who.POLICY_READER,
        handler=role_rules.get,
        summary="Get a role rule",
        answers=(Answer(HTTPStatus.OK, "The rule", _STORED, ("ETag",)),),
        problems=(HTTPStatus.NOT_FOUND,),
    ),
    Operation(
        method="PUT",
        path=role_rules.PATH + "/{id}",
        name="replaceRoleRule",
        tag="Role rules",
        who=Who.POLICY_WRITER,
        handler=role_rules.replace,
        summary="Replace a role rule",
        body=_DOCUMENT,
        preconditions=True,
        answers=(Answer(HTTPStatus.OK, "The rule", _STORED, _REVISIONED),),
        problems=(HTTPStatus.NOT_FOUND, HTTPStatus.CONFLICT),
    ),
    Operation(
        method="DELETE",
        path=role_rules.PATH + "/{id}",
        name="deleteRoleRule",
        tag="Role rules",
        who=Who.POLICY_WRITER,
        handler=role_rules.delete,
        summary="Delete a role rule",
        preconditions=True,
        answers=(Answer(HTTPStatus.NO_CONTENT, "The rule is gone", headers=("X-Policy-Revision",)),),
        problems=(HTTPStatus.NOT_FOUND,),
    ),
)
