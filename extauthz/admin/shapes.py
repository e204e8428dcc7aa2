"""What the schemas of the OpenAPI document are made of."""

from collections.abc import Mapping
from typing import Final

Schema = Mapping[str, object]

ID: Final = {"type": "string", "format": "uuid", "description": "UUIDv7, assigned by the server"}
TIME: Final = {"type": "string", "format": "date-time"}


def text_name(description: str) -> dict[str, object]:
    """Return the schema of a canonical name."""
    return {
        "type": "string",
        "minLength": 1,
        "maxLength": 256,
        "description": f"{description}; in NFC, without control or invisible characters or outer white space",
    }


def shape(
    properties: Mapping[str, object], *, required: tuple[str, ...] = (), description: str = ""
) -> dict[str, object]:
    """Return the schema of an object with these members and no others."""
    schema: dict[str, object] = {
        "type": "object",
        "properties": dict(properties),
        "additionalProperties": False,
    }
    if required:
        schema["required"] = list(required)
    if description:
        schema["description"] = description
    return schema


def reference(schema: str) -> dict[str, object]:
    """Return what stands for a schema of the document."""
    return {"$ref": f"#/components/schemas/{schema}"}


WARNINGS: Final[Mapping[str, object]] = {
    "warnings": {
        "type": "array",
        "items": {"$ref": "#/components/schemas/Warning"},
        "description": "what may surprise; in answers to writes, also rows of the tenant that cannot be read",
    }
}


def page_of(schema: str) -> dict[str, object]:
    """Return the schema of a part of a list."""
    return shape(
        {
            "items": {"type": "array", "items": reference(schema)},
            "next_cursor": {
                "type": ["string", "null"],
                "description": "`cursor` of the next page; null at the end",
            },
        },
        required=("items", "next_cursor"),
    )


def stored(members: Mapping[str, object], *, more: Mapping[str, object] | None = None) -> dict[str, object]:
    """Return the schema of a row: its members, and what the server says of it."""
    properties = {"id": ID, **members, "created_at": TIME, "updated_at": TIME, **(more or {}), **WARNINGS}
    optional = {"expires_at", "deleted_at", "warnings"}
    return shape(properties, required=tuple(each for each in properties if each not in optional))
