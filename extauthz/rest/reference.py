"""`/docs`: the OpenAPI document as one HTML page that loads and runs nothing."""

import json
from collections.abc import Mapping
from html import escape
from typing import Any, Final

_STYLE: Final = """
body { font: 15px/1.5 system-ui, sans-serif; color: #1b1f24 }
body { max-width: 60rem; margin: 2rem auto; padding: 0 1rem }
h1, h2 { line-height: 1.2 } h2 { margin-top: 2.5rem; border-bottom: 1px solid #d0d7de }
details { border: 1px solid #d0d7de; border-radius: 6px; margin: .5rem 0; padding: .4rem .8rem }
summary { cursor: pointer } code, pre { font: 13px/1.45 ui-monospace, monospace }
pre { background: #f6f8fa; padding: .6rem; border-radius: 6px; overflow-x: auto }
table { border-collapse: collapse; width: 100% } td, th { text-align: left; padding: .2rem .8rem .2rem 0 }
td { vertical-align: top; border-top: 1px solid #eaeef2 }
.method { display: inline-block; min-width: 4.5rem; font-weight: 700 } .about { color: #57606a }
"""


def render_reference(document: Mapping[str, Any]) -> str:
    """Return the page."""
    info = document["info"]
    parts = [
        '<!doctype html><html lang="en"><head><meta charset="utf-8">',
        '<meta name="viewport" content="width=device-width">',
        f"<title>{escape(info['title'])} REST API</title><style>{_STYLE}</style></head><body>",
        f"<h1>{escape(info['title'])} REST API {escape(info['version'])}</h1>",
        *(f"<p>{_text(paragraph)}</p>" for paragraph in info["description"].split("\n\n")),
        '<p>The same for programs: <a href="/openapi.json">openapi.json</a> (OpenAPI 3.1).</p>',
    ]
    for tag, operations in _by_tag(document).items():
        parts.append(f"<h2>{escape(tag)}</h2>")
        parts += [_operation(document, *operation) for operation in operations]
    parts.append("<h2>Schemas</h2>")
    for name, schema in document["components"]["schemas"].items():
        parts.append(
            f'<details id="schema-{escape(name)}"><summary><code>{escape(name)}</code></summary>'
            f"{_json(schema)}</details>"
        )
    parts.append("</body></html>")
    return "\n".join(parts)


def _by_tag(document: Mapping[str, Any]) -> dict[str, list[tuple[str, str, Mapping[str, Any]]]]:
    found: dict[str, list[tuple[str, str, Mapping[str, Any]]]] = {}
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            found.setdefault(operation["tags"][0], []).append((method.upper(), path, operation))
    return found


def _operation(document: Mapping[str, Any], method: str, path: str, operation: Mapping[str, Any]) -> str:
    parts = [
        (
            f'<details id="{escape(operation["operationId"])}"><summary><span class="method">{method}</span>'
            f'<code>{escape(path)}</code> <span class="about">{escape(operation["summary"])}</span></summary>'
        ),
        f"<p>{_text(operation.get('description', ''))}</p>",
    ]
    if parameters := operation.get("parameters"):
        rows = "".join(
            f"<tr><td><code>{escape(each['name'])}</code></td><td>{escape(each['in'])}</td>"
            f"<td>{_text(each.get('description', ''))}</td></tr>"
            for each in parameters
        )
        parts.append(f"<table><tr><th>parameter</th><th>in</th><th></th></tr>{rows}</table>")
    if "requestBody" in operation:
        parts += ["<h4>Body</h4>", _content(operation["requestBody"]["content"])]
    parts.append("<h4>Answers</h4>")
    for status, answer in operation["responses"].items():
        resolved = _resolved(document, answer)
        content = _content(resolved["content"]) if "content" in resolved else ""
        heading = f"{escape(status)} {_text(resolved['description'])}"
        parts.append(f"<details><summary>{heading}</summary>{content}</details>")
    return "".join([*parts, "</details>"])


def _resolved(document: Mapping[str, Any], answer: Mapping[str, Any]) -> Mapping[str, Any]:
    here: Any = answer
    if "$ref" in answer:
        here = document
        for part in answer["$ref"].removeprefix("#/").split("/"):
            here = here[part]
    assert isinstance(here, Mapping)
    return here


def _content(content: Mapping[str, Any]) -> str:
    parts = []
    for media_type, body in content.items():
        schema = body["schema"].get("items", body["schema"]).get("$ref", "").rpartition("/")[2]
        link = f' <a href="#schema-{escape(schema)}">{escape(schema)}</a>' if schema else ""
        example = _json(body["example"]) if "example" in body else ""
        parts.append(f"<p><code>{escape(media_type)}</code>{link}</p>{example}")
    return "".join(parts)


def _json(value: object) -> str:
    return f"<pre>{escape(json.dumps(value, indent=2, ensure_ascii=False))}</pre>"


def _text(text: str) -> str:
    """Return prose with its `code` marked."""
    pieces = escape(text, quote=False).split("`")
    return "".join(f"<code>{piece}</code>" if at % 2 else piece for at, piece in enumerate(pieces))
