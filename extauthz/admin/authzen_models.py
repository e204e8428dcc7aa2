"""The requests and answers of AuthZEN Authorization API 1.0, as the OpenAPI document shows them."""

from typing import Annotated, Any, Literal

from pydantic import Field

from extauthz.rest import documents as doc

_SUBJECT = {"type": "user", "id": "alice", "properties": {"domain": "emea", "roles": ["finance"]}}
_ACTION = {"name": "read"}
_RESOURCE = {"type": "invoice", "id": "4711", "properties": {"owner": "alice"}}
_LAST_PAGE = {"next_token": "", "count": 1}  # nosec B105 - the end of a list


class AuthzenSubject(doc.Model):
    """The subject that is asked about."""

    type: Annotated[str, doc.about("`user`, `service` or `workload`; no rule means any other", "user")]
    id: Annotated[str, doc.about("its id, a name", "alice")]
    properties: Annotated[
        dict[str, Any], doc.about("`user.*`; `roles` and `domain` are those of the subject", {})
    ] = Field(default_factory=dict)


class AuthzenSubjectType(doc.Model):
    """The subjects that are looked for."""

    type: Annotated[str, doc.about("`user`, `service` or `workload`", "user")]
    properties: Annotated[dict[str, Any], doc.about("are taken for those of every subject", {})] = Field(
        default_factory=dict
    )


class AuthzenAction(doc.Model):
    """The action."""

    name: Annotated[str, doc.about("the name of the action", "read")]
    properties: Annotated[dict[str, Any], doc.about("`action.properties.*`", {})] = Field(
        default_factory=dict
    )


class AuthzenResource(doc.Model):
    """The resource."""

    type: Annotated[str, doc.about("the name of a resource, else `type:action` is its name", "invoice")]
    id: Annotated[str, doc.about("`resource.id`", "4711")]
    properties: Annotated[dict[str, Any], doc.about("`resource.*`", {})] = Field(default_factory=dict)


_Context = Annotated[dict[str, Any], doc.about("`context.*`", {})]


class EvaluationRequest(doc.Model):
    """A question; unknown members are ignored."""

    subject: Annotated[AuthzenSubject, doc.example(_SUBJECT)]
    action: Annotated[AuthzenAction, doc.example(_ACTION)]
    resource: Annotated[AuthzenResource, doc.example(_RESOURCE)]
    context: _Context = Field(default_factory=dict)


class EvaluationDefaults(doc.Model):
    """An entry of a batch; a member that it leaves out is that of the top."""

    subject: Annotated[dict[str, Any], doc.optional("the subject")]
    action: Annotated[dict[str, Any], doc.optional("the action")]
    resource: Annotated[dict[str, Any], doc.optional("the resource")]
    context: Annotated[dict[str, Any], doc.optional("the context")]


class EvaluationsOptions(doc.Model):
    """How a batch is executed."""

    evaluations_semantic: Literal["execute_all", "deny_on_first_deny", "permit_on_first_permit"] = (
        "execute_all"
    )


class EvaluationsRequest(doc.Model):
    """Questions with common members; without `evaluations` a single question."""

    subject: Annotated[dict[str, Any], doc.optional("the subject of entries that name none", _SUBJECT)]
    action: Annotated[dict[str, Any], doc.optional("the action of entries that name none", _ACTION)]
    resource: Annotated[dict[str, Any], doc.optional("the resource of entries that name none")]
    context: Annotated[dict[str, Any], doc.optional("the context of entries that name none")]
    evaluations: Annotated[
        list[EvaluationDefaults], doc.about("at most 1,000 entries", [{"resource": _RESOURCE}])
    ] = Field(default_factory=list)
    options: EvaluationsOptions = EvaluationsOptions()


class EvaluationError(doc.Model):
    """Why an entry of a batch could not be evaluated."""

    status: Annotated[int, doc.about("what a single evaluation would be answered with", 400)]
    message: Annotated[str, doc.about("what is wrong", "/resource is missing")]


class EvaluationContext(doc.Model):
    """Why the decision came out as it did; for an entry that is wrong only `error`."""

    reason: Annotated[str | None, doc.about("a reason, as in the decision log", "rule_matched")] = None
    message: Annotated[str | None, doc.about("the reason in words", "a rule allows it")] = None
    matched_rule_id: Annotated[str | None, doc.about("the rule that decided", doc.EXAMPLE_ID)] = None
    decision_id: Annotated[str | None, doc.about("names its line in the decision log", doc.EXAMPLE_ID)] = None
    policy_revision: Annotated[int | None, Field(ge=0), doc.about("revision of the tenant's policies", 7)] = (
        None
    )
    error: EvaluationError | None = None


class EvaluationOut(doc.Model):
    """A decision."""

    decision: Annotated[bool, doc.example(True)]
    context: Annotated[
        EvaluationContext,
        doc.example(
            {
                "reason": "rule_matched",
                "message": "a rule allows it",
                "matched_rule_id": doc.EXAMPLE_ID,
                "decision_id": doc.EXAMPLE_ID,
                "policy_revision": 7,
            }
        ),
    ]


class EvaluationsOut(doc.Model):
    """The decisions in the order of the entries; of a single question `decision` and `context`."""

    evaluations: Annotated[
        list[EvaluationOut] | None, doc.example([{"decision": False, "context": {"reason": "rule_matched"}}])
    ] = None
    decision: bool | None = None
    context: EvaluationContext | None = None


class SearchPage(doc.Model):
    """Which part of the results is wanted."""

    token: Annotated[str | None, doc.about("`next_token` of the page before")] = None
    limit: Annotated[int, doc.about("the most results, up to 1,000", 100)] = 100


class SubjectSearchRequest(doc.Model):
    """Which subjects may do the action; unknown members are ignored."""

    subject: Annotated[AuthzenSubjectType, doc.example({"type": "user"})]
    action: Annotated[AuthzenAction, doc.example(_ACTION)]
    resource: Annotated[AuthzenResource, doc.example(_RESOURCE)]
    context: _Context = Field(default_factory=dict)
    page: SearchPage = SearchPage()


class ActionSearchRequest(doc.Model):
    """Which actions the subject may do; unknown members are ignored."""

    subject: Annotated[AuthzenSubject, doc.example(_SUBJECT)]
    resource: Annotated[AuthzenResource, doc.example(_RESOURCE)]
    context: _Context = Field(default_factory=dict)
    page: SearchPage = SearchPage()


class SearchPageOut(doc.Model):
    """Where the results go on."""

    next_token: Annotated[str, doc.about("`token` of the next page; empty at the end", "")]
    count: Annotated[int, doc.about("the number of results in this page", 1)]


class SubjectSearchOut(doc.Model):
    """Subjects that may do the action."""

    page: Annotated[SearchPageOut, doc.example(_LAST_PAGE)]
    results: Annotated[
        list[AuthzenSubject],
        doc.example([{"type": "user", "id": "alice", "properties": {"domain": "emea"}}]),
    ]


class FoundAction(doc.Model):
    """An action that the subject may do."""

    name: Annotated[str, doc.example("read")]


class ActionSearchOut(doc.Model):
    """Actions that the subject may do."""

    page: Annotated[SearchPageOut, doc.example(_LAST_PAGE)]
    results: Annotated[list[FoundAction], doc.example([{"name": "read"}])]
