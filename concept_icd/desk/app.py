"""The desk as an ASGI application: routes behind the middleware, errors as one sentence, the page's files."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import FileResponse, HTMLResponse, Response
from sqlalchemy.exc import SQLAlchemyError
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp

from concept_icd import __version__
from concept_icd.desk.answers import FHIR_JSON, answer, no_record
from concept_icd.desk.api import cds_hooks
from concept_icd.desk.api import codes as codes_api
from concept_icd.desk.api import coding as coding_api
from concept_icd.desk.api import export as export_api
from concept_icd.desk.api import notes as notes_api
from concept_icd.desk.desk import Desk
from concept_icd.desk.middleware import RequestMiddleware
from concept_icd.report.page import render, style

PAGE = Path(__file__).parent / "page"
TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
    ".png": "image/png",
    ".woff2": "font/woff2",
}
DESCRIPTION = (
    "Suggests ICD-9-CM codes for clinical notes, on this machine. Suggestions are for research and must be validated "
    "by a professional coder. Send `Authorization: Bearer TOKEN` where the service asks for it, and `X-Coder: NAME` "
    "(percent-encoded) with decisions."
)


def make_app(desk: Desk) -> ASGIApp:
    """The application of a desk; starting it loads the model, stopping it lets what is being scored end."""

    @asynccontextmanager
    async def life(_: FastAPI) -> AsyncIterator[None]:
        desk.queue.start()
        yield
        desk.close()

    app = FastAPI(
        title="concept-icd", version=__version__, description=DESCRIPTION, docs_url=None, redoc_url=None, lifespan=life
    )
    app.state.desk = desk
    for api in (coding_api, codes_api, notes_api, export_api, cds_hooks):
        app.include_router(api.router)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _refused)
    app.add_exception_handler(SQLAlchemyError, _no_record)
    files = {file.name: file for file in PAGE.iterdir() if file.suffix in TYPES}

    @app.get("/", include_in_schema=False)
    def index() -> Response:
        return FileResponse(PAGE / "index.html", media_type=TYPES[".html"])

    @app.get("/page/{name}", include_in_schema=False)
    def page(name: str) -> Response:
        # Only what was there at the start: no path is ever put together from what is asked for.
        if name not in files:
            raise HTTPException(404, "There is no such file.")
        return FileResponse(files[name], media_type=TYPES[files[name].suffix])

    @app.get("/docs", include_in_schema=False)
    def docs() -> Response:
        digest = base64.b64encode(hashlib.sha256(style().encode()).digest()).decode()
        policy = f"default-src 'none'; style-src 'sha256-{digest}'; frame-ancestors 'none'"
        return HTMLResponse(docs_page(app.openapi()), headers={"Content-Security-Policy": policy})

    return RequestMiddleware(app, desk.settings, desk.telemetry)


def _sentence(request: Request, status: int, detail: str, **more: Any) -> Response:
    asked = (request.headers.get(name, "").partition(";")[0].strip() for name in ("content-type", "accept"))
    if FHIR_JSON in asked:
        issue = {"severity": "error", "code": "processing", "diagnostics": detail}
        return answer({"resourceType": "OperationOutcome", "issue": [issue]}, status, FHIR_JSON)
    return answer({"detail": detail, "request_id": request.state.request_id, **more}, status)


async def _invalid(request: Request, error: Exception) -> Response:
    """What is wrong where; never what was sent, which may be a note."""
    assert isinstance(error, RequestValidationError)
    problems = [
        {"where": ".".join(str(step)[:60] for step in found["loc"]), "what": found["msg"][:300]}
        for found in error.errors()[:20]
    ]
    first = problems[0] if problems else {"where": "the request", "what": "malformed"}
    return _sentence(request, 422, f"{first['where']}: {first['what']}.", problems=problems)


async def _refused(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    response = _sentence(request, error.status_code, str(error.detail))
    response.headers.update(error.headers or {})
    return response


async def _no_record(request: Request, error: Exception) -> Response:
    """The database is gone, full or locked."""
    request.app.state.desk.telemetry.failed(error, request.state.request_id)
    return await _refused(request, no_record())


def docs_page(openapi: dict[str, Any]) -> str:
    """An OpenAPI document as a page without scripts, since FastAPI's own page loads its parts from another site.

    It has each route with what it takes and answers, and an example of its body.
    """
    schemas = openapi.get("components", {}).get("schemas", {})
    routes = [
        {
            "method": method.upper(),
            "path": path,
            "description": route.get("description", ""),
            "parameters": route.get("parameters", []),
            "examples": [json.dumps(example, indent=2, ensure_ascii=False) for example in _examples(route, schemas)],
            "answers": route["responses"],
        }
        for path, methods in openapi["paths"].items()
        for method, route in methods.items()
    ]
    info = openapi["info"]
    return render("api.html", title=info["title"], description=info.get("description", ""), routes=routes)


def _examples(route: dict[str, Any], schemas: dict[str, Any]) -> list[Any]:
    found: list[Any] = []
    for content in route.get("requestBody", {}).get("content", {}).values():
        schema = content["schema"]
        for choice in (schema, *schema.get("anyOf", ()), *schema.get("oneOf", ())):
            name = choice.get("$ref", "").rpartition("/")[2]
            found += schemas.get(name, {}).get("examples", [])
    return found
