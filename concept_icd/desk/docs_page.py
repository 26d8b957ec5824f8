"""The API's documentation as one page without scripts: FastAPI's own loads its parts from another site."""

from __future__ import annotations

import html
import json
from typing import Any

STYLE = "body{max-width:60rem;margin:2rem auto;padding:0 1rem;font:16px/1.5 sans-serif}pre{overflow:auto;padding:.5rem}"


def docs_page(openapi: dict[str, Any]) -> str:
    """HTML of an OpenAPI document: each route with what it takes and answers, and an example of its body."""
    schemas = openapi.get("components", {}).get("schemas", {})
    parts = [f"<h1>{_text(openapi['info']['title'])}</h1><p>{_text(openapi['info'].get('description', ''))}</p>"]
    parts.append('<p><a href="openapi.json">openapi.json</a></p>')
    for path, methods in openapi["paths"].items():
        for method, route in methods.items():
            parts.append(
                f"<h2><code>{method.upper()} {_text(path)}</code></h2><p>{_text(route.get('description', ''))}</p>"
            )
            if parameters := route.get("parameters"):
                rows = "".join(
                    f"<li><code>{_text(p['name'])}</code> ({p['in']}{', required' if p.get('required') else ''}) "
                    f"{_text(p.get('description', ''))}</li>"
                    for p in parameters
                )
                parts.append(f"<ul>{rows}</ul>")
            for example in _examples(route, schemas):
                parts.append(f"<pre>{_text(json.dumps(example, indent=2, ensure_ascii=False))}</pre>")
            answers = "".join(
                f"<li>{status}: {_text(said.get('description', ''))}</li>"
                for status, said in route["responses"].items()
            )
            parts.append(f"<details><summary>answers</summary><ul>{answers}</ul></details>")
    body = "\n".join(parts)
    return f'<!doctype html><html lang="en"><meta charset="utf-8"><title>API</title><style>{STYLE}</style>{body}</html>'


def _examples(route: dict[str, Any], schemas: dict[str, Any]) -> list[Any]:
    found: list[Any] = []
    for content in route.get("requestBody", {}).get("content", {}).values():
        schema = content["schema"]
        for choice in (schema, *schema.get("anyOf", ()), *schema.get("oneOf", ())):
            name = choice.get("$ref", "").rpartition("/")[2]
            found += schemas.get(name, {}).get("examples", [])
    return found


def _text(value: str) -> str:
    return html.escape(value).replace("\n", "<br>")
