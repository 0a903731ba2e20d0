"""The API for people to read, made of its OpenAPI document: one page that needs neither scripts nor another server.

FastAPI's own loads a script from a public host, which a cluster may not reach, and which could do here whatever the
reader may.
"""

from collections.abc import Iterator, Mapping
from html import escape
from typing import Any

Schema = Mapping[str, Any]


def manual(document: Schema) -> str:
    """The page's body: every operation, then every record that one takes or answers."""
    parts = [
        f"<h1>{escape(document['info']['title'])}</h1>",
        f"<p>{escape(document['info'].get('description', ''))}</p>",
    ]
    parts.append('<p>For programs: <a href="/openapi.json">openapi.json</a></p>')
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            parts += _operation(f"{method.upper()} {path}", operation)
    for name, schema in document.get("components", {}).get("schemas", {}).items():
        if "properties" in schema:
            parts += [f'<h2 id="{escape(name)}">{escape(name)}</h2>', _described(schema), _fields(schema)]
    return "".join(parts)


def _operation(title: str, operation: Schema) -> Iterator[str]:
    yield f"<h2>{escape(title)}</h2>{_described(operation)}"
    rows = [
        (given["name"], given["in"], _type(given["schema"]), given.get("required", False), given.get("description", ""))
        for given in operation.get("parameters", ())
    ]
    if rows:
        cells = ([name, f"{where}, {kind}{_needed(need)}", escape(about)] for name, where, kind, need, about in rows)
        yield _table(cells)
    for content in operation.get("requestBody", {}).get("content", {}).values():
        yield f"<p>Takes {_type(content['schema'])}.</p>"
    for status, response in operation.get("responses", {}).items():
        for kind in (content["schema"] for content in response.get("content", {}).values() if content.get("schema")):
            yield f"<p>{escape(status)}: {_type(kind)}</p>"


def _fields(schema: Schema) -> str:
    need = schema.get("required", ())
    fields = schema["properties"].items()
    return _table(
        [name, f"{_type(field)}{_needed(name in need)}", escape(field.get("description", ""))] for name, field in fields
    )


def _described(of: Schema) -> str:
    return f"<p>{escape(of.get('description') or of.get('summary') or '')}</p>"


def _needed(needed: bool) -> str:
    return ", needed" if needed else ""


def _type(schema: Schema) -> str:
    """What a schema allows, in words; a record by its name."""
    if "$ref" in schema:
        name = escape(schema["$ref"].rsplit("/", 1)[1])
        return f'<a href="#{name}">{name}</a>'
    for several in ("anyOf", "oneOf", "allOf"):
        if several in schema:
            return " or ".join(map(_type, schema[several]))
    if "enum" in schema or "const" in schema:
        return escape(", ".join(map(str, schema.get("enum", [schema.get("const")]))))
    if schema.get("type") == "array":
        return f"list of {_type(schema.get('items', {}))}"
    default = f" [{escape(str(schema['default']))}]" if "default" in schema else ""
    return escape(str(schema.get("type", "anything"))) + default


def _table(rows: Any) -> str:
    lines = (
        f"<tr><th><code>{escape(name)}</code></th><td>{kind}</td><td>{about}</td></tr>" for name, kind, about in rows
    )
    return f"<table>{''.join(lines)}</table>"
