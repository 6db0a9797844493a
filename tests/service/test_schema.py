"""Schemathesis sends what OpenAPI allows and what it forbids; nothing of it may break the service."""

import time

import httpx
import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis import GenerationMode, checks

from .conftest import SECRET, signed
from .world import promote

# One worker and one service for all of it: the last test asks the service that the others have tried.
pytestmark = pytest.mark.xdist_group("schema")

QUIET = [HealthCheck.too_slow, HealthCheck.filter_too_much, HealthCheck.data_too_large]
CONFORMING = [
    checks.not_a_server_error,
    checks.status_code_conformance,
    checks.content_type_conformance,
    checks.response_schema_conformance,
    checks.response_headers_conformance,
]


class Caller(requests.auth.AuthBase):
    """Shows the key, and signs purchases of an even number of bytes as their sender would."""

    def __init__(self, key):
        self.key = key

    def __call__(self, request):
        request.headers["Authorization"] = f"Bearer {self.key}"
        event_id, body = request.headers.get("webhook-id"), request.body or b""
        body = body.encode() if isinstance(body, str) else body
        if isinstance(event_id, bytes):
            event_id = event_id.decode("latin-1")
        if event_id and event_id.isascii() and len(body) % 2 == 0:
            request.headers.update(signed(event_id, int(time.time()), body))
        return request


@pytest.fixture(scope="module")
def service(start, tmp_path_factory, model, now):
    folder = tmp_path_factory.mktemp("schema")
    promote(folder / "models", model, now)
    return start(folder, settings="poll_s = 0.5")


@pytest.fixture(scope="module")
def api(service):
    return schemathesis.openapi.from_url(f"{service.url}/openapi.json")


def send(api, service, path, method, mode, n):
    """Requests to one path, as its description allows or as it forbids."""
    if path == "/health" and mode is GenerationMode.NEGATIVE:
        pytest.skip("nothing can be wrong about it")
    strategy = api[path][method].as_strategy(generation_mode=mode)

    @settings(max_examples=n, deadline=None, suppress_health_check=QUIET, database=None)
    @given(strategy)
    def ask(case):
        case.call_and_validate(checks=CONFORMING, auth=Caller(service.key))

    ask()


every = pytest.mark.parametrize(
    ("path", "method"),
    [
        ("/api/ml/predict", "POST"),
        ("/api/ml/predict/batch", "POST"),
        ("/api/ml/check-retrain", "POST"),
        ("/api/ml/outcomes", "POST"),
        ("/api/ml/stats", "GET"),
        ("/api/ml/model-info", "GET"),
        ("/api/events/purchase", "POST"),
        ("/health", "GET"),
        ("/metrics", "GET"),
    ],
)
modes = pytest.mark.parametrize("mode", list(GenerationMode), ids=lambda mode: mode.value)


@every
@modes
def test_no_request_breaks_the_service(api, service, path, method, mode):
    send(api, service, path, method, mode, n=12)


@pytest.mark.study
@every
@modes
def test_none_of_many_requests_breaks_the_service(api, service, path, method, mode):
    send(api, service, path, method, mode, n=500)


def test_every_path_is_told_with_examples_and_errors(service):
    told = httpx.get(f"{service.url}/openapi.json").json()
    assert len(told["paths"]) == 9 and SECRET not in str(told)
    models = told["components"]["schemas"]
    for path, operations in told["paths"].items():
        for operation in operations.values():
            assert operation["summary"] and operation["description"]
            if path == "/health":
                continue
            assert operation["security"][0]["ApiKey"], path
            assert {"401", "403", "405"} <= set(operation["responses"])
            for status, answer in operation["responses"].items():
                if int(status) >= 400 and (path, status) != ("/api/ml/check-retrain", "409"):
                    name = answer["content"]["application/json"]["schema"]["$ref"].rpartition("/")[2]
                    assert set(models[name]["properties"]) == {"error", "value", "allowed", "remedy"}
            if "requestBody" in operation:
                content = operation["requestBody"]["content"]["application/json"]
                names = [part.rpartition("/")[2] for part in str(content["schema"]).split("'") if "/" in part]
                assert "example" in content or models[names[0]]["examples"]


def test_the_service_still_answers_after_all_that(service):
    assert service.process.poll() is None
    before = service.metric("gaelp_http_requests_total{")
    assert service.call("GET", "/health").status_code == 200
    assert service.metric("gaelp_http_requests_total{") > before
    crashed = service.call("GET", "/metrics").text
    assert 'status="500"' not in crashed and 'status="503"' not in crashed
