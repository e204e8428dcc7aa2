"""The operations on attribute policies, for the router and for the OpenAPI document."""

from http import HTTPStatus
from typing import Final

from extauthz.admin import attribute_policies as policies
from extauthz.admin import examples
from extauthz.admin.operation import PAGING, Answer, Content, Operation, Parameter, Who

_TAG: Final = "Attribute policies"
_ONE: Final = policies.PATH + "/{id}"
_STORED: Final = Content("AttributePolicy", examples.ATTRIBUTE_POLICY_STORED)
_DOCUMENT: Final = Content("AttributePolicyDocument", examples.ATTRIBUTE_POLICY)
_PATCH: Final = Content(
    "AttributePolicyPatch",
    {"enabled": False},
    media_types=("application/json", "application/merge-patch+json"),
)
_REVISIONED: Final = ("X-Policy-Revision", "ETag")
_WRITTEN: Final = Answer(HTTPStatus.OK, "The policy, with warnings if any", _STORED, _REVISIONED)
_FLAG: Final = {"type": "boolean", "default": False}

OPERATIONS: Final = (
    Operation(
        method="GET",
        path=policies.PATH,
        name="listAttributePolicies",
        tag=_TAG,
        who=Who.POLICY_READER,
        handler=policies.list_policies,
        summary="List attribute policies",
        parameters=(
            Parameter("resource", "only policies on this resource"),
            Parameter("deleted", "the deleted ones instead of the present ones", _FLAG),
            *PAGING,
        ),
        answers=(
            Answer(
                HTTPStatus.OK,
                "A page of policies",
                Content("AttributePolicyPage", examples.page_of(examples.ATTRIBUTE_POLICY_STORED)),
            ),
        ),
    ),
    Operation(
        method="POST",
        path=policies.PATH,
        name="createAttributePolicy",
        tag=_TAG,
        who=Who.POLICY_WRITER,
        handler=policies.create,
        summary="Create an attribute policy",
        body=_DOCUMENT,
        preconditions=True,
        answers=(
            Answer(
                HTTPStatus.CREATED,
                "The policy, with warnings if any",
                _STORED,
                (*_REVISIONED, "Location"),
            ),
        ),
    ),
    Operation(
        method="GET",
        path=_ONE,
        name="getAttributePolicy",
        tag=_TAG,
        who=Who.POLICY_READER,
        handler=policies.get,
        summary="Get an attribute policy",
        parameters=(Parameter("deleted", "also when it is deleted; `deleted_at` says so", _FLAG),),
        answers=(Answer(HTTPStatus.OK, "The policy", _STORED, ("ETag",)),),
        problems=(HTTPStatus.NOT_FOUND,),
    ),
    Operation(
        method="PUT",
        path=_ONE,
        name="replaceAttributePolicy",
        tag=_TAG,
        who=Who.POLICY_WRITER,
        handler=policies.replace,
        summary="Replace an attribute policy",
        description="An object as it was read may be changed and sent back.",
        body=_DOCUMENT,
        preconditions=True,
        answers=(_WRITTEN,),
        problems=(HTTPStatus.NOT_FOUND,),
    ),
    Operation(
        method="PATCH",
        path=_ONE,
        name="patchAttributePolicy",
        tag=_TAG,
        who=Who.POLICY_WRITER,
        handler=policies.patch,
        summary="Change some members of an attribute policy",
        description="A JSON merge patch (RFC 7396); a `rule_data` with a `type` replaces the whole tree.",
        body=_PATCH,
        preconditions=True,
        answers=(_WRITTEN,),
        problems=(HTTPStatus.NOT_FOUND,),
    ),
    Operation(
        method="DELETE",
        path=_ONE,
        name="deleteAttributePolicy",
        tag=_TAG,
        who=Who.POLICY_WRITER,
        handler=policies.delete,
        summary="Delete an attribute policy softly",
        description="No decision sees it any more; it can be restored.",
        preconditions=True,
        answers=(Answer(HTTPStatus.NO_CONTENT, "The policy is deleted", headers=("X-Policy-Revision",)),),
        problems=(HTTPStatus.NOT_FOUND,),
    ),
    Operation(
        method="POST",
        path=_ONE + "/restore",
        name="restoreAttributePolicy",
        tag=_TAG,
        who=Who.POLICY_WRITER,
        handler=policies.restore,
        summary="Bring a deleted attribute policy back as it was",
        preconditions=True,
        answers=(_WRITTEN,),
        problems=(HTTPStatus.NOT_FOUND,),
    ),
    Operation(
        method="GET",
        path=_ONE + "/versions",
        name="listAttributePolicyVersions",
        tag=_TAG,
        who=Who.POLICY_READER,
        handler=policies.versions,
        summary="List every state that an attribute policy has been in, oldest first",
        parameters=PAGING,
        answers=(
            Answer(
                HTTPStatus.OK,
                "A page of versions",
                Content("AttributePolicyVersionPage", examples.page_of(examples.ATTRIBUTE_POLICY_VERSION)),
            ),
        ),
        problems=(HTTPStatus.NOT_FOUND,),
    ),
)
