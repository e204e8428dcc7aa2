"""The requests and answers of AuthZEN Authorization API 1.0, as the OpenAPI document shows them."""

from typing import Any, Literal

from extauthz.rest import documents as doc

_SUBJECT = {"type": "user", "id": "alice", "properties": {"domain": "emea", "roles": ["finance"]}}
_ACTION = {"name": "read"}
_RESOURCE = {"type": "invoice", "id": "4711", "properties": {"owner": "alice"}}


class AuthzenSubject(doc.Model):
    """The subject that is asked about."""

    type: str = doc.about("`user`, `service` or `workload`; no rule means any other", "user")
    id: str = doc.about("its id, a name", "alice")
    properties: dict[str, Any] = doc.about(
        "`user.*`; `roles` and `domain` are those of the subject", {}, default_factory=dict
    )


class AuthzenSubjectType(doc.Model):
    """The subjects that are looked for."""

    type: str = doc.about("`user`, `service` or `workload`", "user")
    properties: dict[str, Any] = doc.about("are taken for those of every subject", {}, default_factory=dict)


class AuthzenAction(doc.Model):
    """The action."""

    name: str = doc.about("the name of the action", "read")
    properties: dict[str, Any] = doc.about("`action.properties.*`", {}, default_factory=dict)


class AuthzenResource(doc.Model):
    """The resource."""

    type: str = doc.about("the name of a resource, else `type:action` is its name", "invoice")
    id: str = doc.about("`resource.id`", "4711")
    properties: dict[str, Any] = doc.about("`resource.*`", {}, default_factory=dict)


_CONTEXT: Any = doc.about("`context.*`", {}, default_factory=dict)


class EvaluationRequest(doc.Model):
    """A question; unknown members are ignored."""

    subject: AuthzenSubject = doc.example(_SUBJECT)
    action: AuthzenAction = doc.example(_ACTION)
    resource: AuthzenResource = doc.example(_RESOURCE)
    context: dict[str, Any] = _CONTEXT


class EvaluationDefaults(doc.Model):
    """An entry of a batch; a member that it leaves out is that of the top."""

    subject: dict[str, Any] = doc.optional("the subject")
    action: dict[str, Any] = doc.optional("the action")
    resource: dict[str, Any] = doc.optional("the resource")
    context: dict[str, Any] = doc.optional("the context")


class EvaluationsOptions(doc.Model):
    """How a batch is executed."""

    evaluations_semantic: Literal["execute_all", "deny_on_first_deny", "permit_on_first_permit"] = (
        "execute_all"
    )


class EvaluationsRequest(doc.Model):
    """Questions with common members; without `evaluations` a single question."""

    subject: dict[str, Any] = doc.optional("the subject of entries that name none", _SUBJECT)
    action: dict[str, Any] = doc.optional("the action of entries that name none", _ACTION)
    resource: dict[str, Any] = doc.optional("the resource of entries that name none")
    context: dict[str, Any] = doc.optional("the context of entries that name none")
    evaluations: list[EvaluationDefaults] = doc.about(
        "at most 1,000 entries", [{"resource": _RESOURCE}], default_factory=list
    )
    options: EvaluationsOptions = EvaluationsOptions()


class EvaluationError(doc.Model):
    """Why an entry of a batch could not be evaluated."""

    status: int = doc.about("what a single evaluation would be answered with", 400)
    message: str = doc.about("what is wrong", "/resource is missing")


class EvaluationContext(doc.Model):
    """Why the decision came out as it did; for an entry that is wrong only `error`."""

    reason: str | None = doc.optional("a reason, as in the decision log", "rule_matched")
    message: str | None = doc.optional("the reason in words", "a rule allows it")
    matched_rule_id: str | None = doc.optional("the rule that decided", doc.EXAMPLE_ID)
    decision_id: str | None = doc.optional("names its line in the decision log", doc.EXAMPLE_ID)
    policy_revision: int | None = doc.optional("revision of the tenant's policies", 7, ge=0)
    error: EvaluationError | None = None


class EvaluationOut(doc.Model):
    """A decision."""

    decision: bool = doc.example(True)
    context: EvaluationContext


class EvaluationsOut(doc.Model):
    """The decisions in the order of the entries; of a single question `decision` and `context`."""

    evaluations: list[EvaluationOut] | None = doc.example(
        [{"decision": False, "context": {"reason": "rule_matched"}}], default=None
    )
    decision: bool | None = None
    context: EvaluationContext | None = None


class SearchPage(doc.Model):
    """Which part of the results is wanted."""

    token: str | None = doc.optional("`next_token` of the page before")
    limit: int = doc.about("the most results, up to 1,000", 100, default=100)


class SubjectSearchRequest(doc.Model):
    """Which subjects may do the action; unknown members are ignored."""

    subject: AuthzenSubjectType = doc.example({"type": "user"})
    action: AuthzenAction = doc.example(_ACTION)
    resource: AuthzenResource = doc.example(_RESOURCE)
    context: dict[str, Any] = _CONTEXT
    page: SearchPage = SearchPage()


class ActionSearchRequest(doc.Model):
    """Which actions the subject may do; unknown members are ignored."""

    subject: AuthzenSubject = doc.example(_SUBJECT)
    resource: AuthzenResource = doc.example(_RESOURCE)
    context: dict[str, Any] = _CONTEXT
    page: SearchPage = SearchPage()


class SearchPageOut(doc.Model):
    """Where the results go on."""

    next_token: str = doc.about("`token` of the next page; empty at the end", "")
    count: int = doc.about("the number of results in this page", 1)


class SubjectSearchOut(doc.Model):
    """Subjects that may do the action."""

    page: SearchPageOut
    results: list[AuthzenSubject] = doc.example(
        [{"type": "user", "id": "alice", "properties": {"domain": "emea"}}]
    )


class FoundAction(doc.Model):
    """An action that the subject may do."""

    name: str = doc.example("read")


class ActionSearchOut(doc.Model):
    """Actions that the subject may do."""

    page: SearchPageOut
    results: list[FoundAction]
