"""Schemathesis against the running server: whatever the OpenAPI document allows, or nearly, is no 500."""

from __future__ import annotations

import contextlib

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.errors import Unsatisfiable

from tests.desk.service import Service

pytestmark = pytest.mark.slow

#: Examples for each route and method, of those that fit its description and of those that do not.
EXAMPLES = 10


def test_nothing_it_may_be_asked_is_a_server_error(service: Service) -> None:
    schema = schemathesis.openapi.from_dict(service.client.get("/openapi.json").json())
    keys = [note["key"] for note in service.client.get("/v1/notes").json()["notes"]]
    asked: dict[str, set[int]] = {}

    def ask(case: schemathesis.Case) -> None:
        if len(str((case.path_parameters or {}).get("key", ""))) == 16:  # well-formed: then one that is there
            case.path_parameters["key"] = keys[len(repr(case.body)) % len(keys)]
        case.headers = {**(case.headers or {}), "X-Coder": "a%20machine"}
        answered = case.call(base_url=service.url, timeout=90)
        asked.setdefault(case.operation.label, set()).add(answered.status_code)
        assert answered.status_code < 500, f"{case.operation.label}: {answered.status_code} {case.body!r}"
        if answered.status_code >= 400:
            assert "detail" in answered.json()

    bounds = settings(
        max_examples=EXAMPLES,
        deadline=None,
        derandomize=True,
        database=None,
        phases=[Phase.explicit, Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    for found in schema.get_all_operations():
        operation = found.ok()
        for mode in (schemathesis.GenerationMode.POSITIVE, schemathesis.GenerationMode.NEGATIVE):
            with contextlib.suppress(Unsatisfiable):  # what takes nothing cannot be asked wrongly
                bounds(given(case=operation.as_strategy(generation_mode=mode))(ask))()
    assert len(asked) >= 20
    assert sum(200 in statuses for statuses in asked.values()) >= 15
