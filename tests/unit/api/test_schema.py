"""Schemathesis against the running server, by its own description, over TLS with an administrator's token.

The seed is fixed: what fails, fails again. Streams have no end, and are tested apart.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, Phase, given, seed, settings
from schemathesis.checks import not_a_server_error
from schemathesis.config import SchemathesisConfig
from schemathesis.generation.modes import GenerationMode
from schemathesis.specs.openapi.checks import (
    allow_header_conformance,
    content_type_conformance,
    ignored_auth,
    negative_data_rejection,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
    unsupported_method,
)

from tests.unit.api.conftest import Api

schemathesis.serializer.alias("application/x-ndjson", "text/plain")

CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    unsupported_method,
    allow_header_conformance,
]

OPERATIONS = [
    ("GET", "/v1/healthz"),
    ("GET", "/v1/peers"),
    ("POST", "/v1/peers"),
    ("DELETE", "/v1/peers"),
    ("GET", "/v1/peers/{peer}"),
    ("PATCH", "/v1/peers/{peer}"),
    ("DELETE", "/v1/peers/{peer}"),
    ("POST", "/v1/peers/{peer}/rotate"),
    ("GET", "/v1/peers/{peer}/claim"),
    ("DELETE", "/v1/peers/{peer}/claim"),
    ("GET", "/v1/find"),
    ("GET", "/v1/count"),
    ("POST", "/v1/peers/import"),
    ("GET", "/v1/peers/export"),
    ("GET", "/v1/gateways"),
    ("GET", "/v1/tokens"),
    ("POST", "/v1/tokens"),
    ("DELETE", "/v1/tokens/{token}"),
    ("GET", "/v1/audit"),
]
APART = {
    ("GET", "/v1/feed"),
    ("GET", "/v1/changes"),
    ("GET", "/v1/status"),
    ("GET", "/v1/gateway/healthz"),
    ("POST", "/v1/gateway/drain"),
    ("DELETE", "/v1/gateway/drain"),
}
"""Streams, and what is 503 for want of a gateway."""


@pytest.fixture(scope="module")
def server(api: Api) -> Iterator[tuple[Api, dict[str, Any], requests.Session]]:
    for name in ("alice", "bob"):
        api.local.post("/v1/peers", json={"name": name, "labels": {"team": "infra"}})
    with requests.Session() as session:
        session.trust_env = False
        session.headers["Authorization"] = f"Bearer {api.token('admin', rate=100_000)}"
        yield api, api.local.get("/v1/openapi.json").json(), session


def test_every_operation_is_attacked(server: tuple[Api, dict[str, Any], requests.Session]) -> None:
    described = {(method.upper(), path) for path, methods in server[1]["paths"].items() for method in methods}
    assert described == {*OPERATIONS, *APART}


@pytest.mark.parametrize(("method", "path"), OPERATIONS)
@pytest.mark.parametrize("mode", list(GenerationMode))
def test_an_operation(
    server: tuple[Api, dict[str, Any], requests.Session], mode: GenerationMode, method: str, path: str, tmp_path: Path
) -> None:
    api, described, session = server
    schema = schemathesis.openapi.from_dict(described, config=SchemathesisConfig())
    operation = schema[path][method]
    token = {"Authorization": str(session.headers["Authorization"])}
    checks = [*CHECKS, negative_data_rejection] if mode is GenerationMode.NEGATIVE else CHECKS

    @seed(4)
    @settings(
        max_examples=5,
        deadline=None,
        database=None,
        phases=[Phase.explicit, Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(case=operation.as_strategy(generation_mode=mode))
    def attack(case: Any) -> None:
        # The token is there whatever was generated: what is to be attacked lies behind it.
        case.call_and_validate(
            base_url=api.url, session=session, headers=token, checks=checks, verify=str(api.folder / "cert.pem")
        )

    try:
        attack()
    except Exception as error:
        if type(error).__name__ not in ("Unsatisfiable", "SkipTest", "Skipped"):  # nothing of it can be wrong
            raise
    assert "internal error" not in api.log()


def test_authentication_is_not_ignored(own: Callable[..., Api]) -> None:
    api = own()  # of its own: who fails to authenticate too often is not answered 401 any more
    schema = schemathesis.openapi.from_dict(api.local.get("/v1/openapi.json").json(), config=SchemathesisConfig())
    operation = schema["/v1/peers"]["GET"]
    token = {"Authorization": f"Bearer {api.token('admin')}"}
    trusted = str(api.folder / "cert.pem")

    @seed(4)
    @settings(max_examples=2, deadline=None, database=None, phases=[Phase.generate])
    @given(case=operation.as_strategy(generation_mode=GenerationMode.POSITIVE))
    def attack(case: Any) -> None:
        with requests.Session() as session:
            session.trust_env = False
            case.call_and_validate(
                base_url=api.url, session=session, headers=token, checks=[ignored_auth], verify=trusted
            )

    attack()
