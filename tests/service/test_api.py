"""The API as callers meet it: a real service, a real model, a real database."""

import datetime as dt
import json
import time

import httpx
import pytest
import sqlalchemy as sa

from gaelp.journeys.batch import Event
from gaelp.journeys.database import Database
from gaelp.journeys.store import JourneyStore
from gaelp.prediction.predictor import Predictor
from gaelp.service.keys import SCOPES

from .conftest import PATIENCE_S, SECRET, signed
from .world import FEATURES, promote

NOTICED_S = 1.1  # in which a change of keys is seen


@pytest.fixture(scope="module")
def folder(tmp_path_factory, model, now):
    folder = tmp_path_factory.mktemp("service")
    promote(folder / "models", model, now)
    return folder


@pytest.fixture(scope="module")
def service(start, folder):
    return start(folder, settings="max_event_bytes = 2000\nmax_batch = 3\npoll_s = 0.2")


@pytest.fixture
def rows(folder):
    """Rows of a query on the service's database, tried until there are some."""

    def read(query):
        database = Database(f"sqlite:///{folder}/service.db")
        for _ in range(100):
            with database.reading() as connection:
                if found := connection.execute(sa.text(query)).mappings().all():
                    break
            time.sleep(0.05)
        database.close()
        return found

    return read


def ask(service, features=FEATURES, **more):
    return service.call("POST", "/api/ml/predict", json={"video_id": "clip-1", "features": features}, **more)


def test_a_prediction_is_the_models_and_is_recorded_with_what_it_was_made_from(service, folder, rows):
    answer = ask(service)
    assert answer.status_code == 200
    told = answer.json()
    version, expected = Predictor(folder / "models").predict([FEATURES])
    assert told["predicted"] == pytest.approx(expected[0], abs=1e-9) and told["model_version"] == version
    kept = rows(f"SELECT * FROM prediction_records WHERE prediction_id = '{told['prediction_id']}'")[0]
    assert (kept["video_id"], kept["target"], kept["model_version"]) == ("clip-1", "ctr", version)
    assert kept["predicted"] == told["predicted"]
    assert json.loads(kept["features"]) == FEATURES


def test_a_batch_is_predicted_as_its_rows_are_one_by_one(service):
    features = [{"x": x, "site": site} for x, site in ((-1.0, "arts"), (0, "news"), (2.5, None))]
    rows = [{"video_id": f"clip-{i}", "features": each} for i, each in enumerate(features)]
    told = service.call("POST", "/api/ml/predict/batch", json={"rows": rows}).json()["predictions"]
    single = [ask(service, each).json()["predicted"] for each in features]
    assert [each["predicted"] for each in told] == pytest.approx(single, abs=1e-5)
    assert len({each["prediction_id"] for each in told}) == 3
    refused = service.call("POST", "/api/ml/predict/batch", json={"rows": rows * 2})
    assert refused.status_code == 422 and refused.json()["allowed"] == "must be at most 3"


@pytest.mark.parametrize(
    ("features", "error", "told"),
    [
        ({"x": 0.1}, "column site", "missing"),
        ({**FEATURES, "y": 1}, "column", "y"),
        ({**FEATURES, "x": "noon"}, "x", "noon"),
        ({**FEATURES, "x": 1e300}, "features.x", None),
        ({**FEATURES, "site": "a" * 2000}, "features.site", None),
        ({**FEATURES, "x": True}, "features.x", None),
        ({**FEATURES, "x": [1]}, "features.x", None),
        ("x", "features", "x"),
    ],
)
def test_wrong_features_are_refused_by_name(service, features, error, told):
    answer = ask(service, features)
    body = answer.json()
    assert answer.status_code == 422 and set(body) == {"error", "value", "allowed", "remedy"}
    assert body["error"].startswith(error)
    if told:
        assert body["value"] == told


@pytest.mark.parametrize(
    ("method", "path", "more", "status"),
    [
        ("GET", "/nowhere", {}, 404),
        ("DELETE", "/api/ml/predict", {}, 405),
        ("POST", "/api/ml/predict", {"content": b"{", "headers": {"content-type": "application/json"}}, 422),
        (
            "POST",
            "/api/ml/predict",
            {"content": b"\xff", "headers": {"content-type": "application/json"}},
            400,
        ),
        (
            "POST",
            "/api/ml/predict",
            {"content": b"[" * 100_000, "headers": {"content-type": "application/json"}},
            400,
        ),
        ("POST", "/api/ml/predict", {"content": b"x" * 2_000_001}, 413),
        ("POST", "/api/ml/predict", {"content": (b"x" * 1_000_000 for _ in range(3))}, 413),
        ("POST", "/api/events/purchase", {"content": b"x" * 2_001}, 413),
        ("POST", "/api/ml/check-retrain", {"json": {"trigger": "whim"}}, 422),
        ("POST", "/api/ml/check-retrain", {"json": {"force": 1}}, 422),
        ("POST", "/api/ml/check-retrain", {"headers": {"Idempotency-Key": "a b"}}, 422),
    ],
)
def test_errors_have_one_form(service, method, path, more, status):
    answer = service.call(method, path, **more)
    assert answer.status_code == status, answer.text
    assert set(answer.json()) == {"error", "value", "allowed", "remedy"}
    assert answer.headers["x-request-id"]


PATHS = {
    ("POST", "/api/ml/predict"): "predict",
    ("POST", "/api/ml/predict/batch"): "predict",
    ("POST", "/api/ml/check-retrain"): "retrain",
    ("GET", "/api/ml/stats"): "read",
    ("GET", "/api/ml/model-info"): "read",
    ("GET", "/metrics"): "read",
    ("POST", "/api/events/purchase"): "events",
    ("POST", "/api/ml/outcomes"): "events",
}


SENT = {
    "/api/ml/predict": {"video_id": "clip", "features": FEATURES},
    "/api/ml/predict/batch": {"rows": [{"video_id": "clip", "features": FEATURES}]},
    "/api/ml/outcomes": {"outcomes": [{"prediction_id": "a", "day": "2026-01-01", "trials": 1, "events": 0}]},
}


@pytest.fixture(scope="module")
def keys(service, now):
    """By scope, a key that has all scopes but this one."""
    made = {
        scope: service.keys.add("other", [each for each in SCOPES if each != scope], now=now)[0]
        for scope in SCOPES
    }
    time.sleep(NOTICED_S)
    return made


@pytest.mark.parametrize(("path", "scope"), PATHS.items(), ids=str)
def test_every_path_but_health_wants_a_key_with_its_scope(service, keys, path, scope):
    body = json.dumps(SENT.get(path[1], {})).encode()
    headers = signed("order-0", int(time.time()), body)
    more = {"content": body, "headers": headers} if path[0] == "POST" else {}
    for key in ("nonsense", "gaelp_00000000_" + "a" * 43):
        answer = service.call(*path, key=key, **more)
        assert answer.status_code == 401 and answer.headers["www-authenticate"] == "Bearer"
    answer = service.call(*path, key=keys[scope], **more)
    assert answer.status_code == 403 and answer.json()["allowed"] == f"must hold the scope {scope}"


def test_a_key_that_is_revoked_stops_opening(service, now):
    key, made = service.keys.add("short", ["predict"], now=now)
    time.sleep(NOTICED_S)
    assert ask(service, key=key).status_code == 200
    service.keys.revoke(made.key_id, now=now)
    time.sleep(NOTICED_S)
    assert ask(service, key=key).status_code == 401


def test_request_ids_are_kept_where_they_are_sound_and_made_where_not(service):
    assert ask(service, headers={"X-Request-ID": "abc-1"}).headers["x-request-id"] == "abc-1"
    for wrong in ("a b", "x" * 65):
        assert ask(service, headers={"X-Request-ID": wrong}).headers["x-request-id"] != wrong


def test_health_needs_no_key_and_names_the_version_that_serves(service):
    told = httpx.get(f"{service.url}/health").json()
    assert told["status"] == "ok" and told["model"] == "v000001"


def test_stats_and_models_are_told_with_their_moment_and_source(service):
    stats = service.call("GET", "/api/ml/stats").json()
    assert stats["as_of"].endswith("+00:00") and "prediction_records" in stats["source"]
    assert {"accuracy", "samples", "queue", "runs"} <= set(stats)
    models = service.call("GET", "/api/ml/model-info").json()
    assert models["champion"]["name"] == "v000001" and models["champion"]["manifest"]["files"]
    assert models["previous"] is None and models["challenger"] is None


def test_a_check_is_answered_by_its_status_and_by_the_same_one_for_the_same_key(service):
    first = service.call("POST", "/api/ml/check-retrain", headers={"Idempotency-Key": "once"})
    assert first.status_code == 200 and first.json()["status"] == "insufficient_data", first.text
    again = service.call("POST", "/api/ml/check-retrain", headers={"Idempotency-Key": "once"})
    assert again.json()["run_id"] == first.json()["run_id"]
    other = service.call("POST", "/api/ml/check-retrain", json={"trigger": "daily"})
    assert other.json()["run_id"] != first.json()["run_id"] and other.json()["trigger"] == "daily"
    runs = service.call("GET", "/api/ml/stats").json()["runs"]
    assert [each["who"] for each in runs] == ["api:test"] * 2


def test_a_purchase_is_kept_once_however_often_it_is_told(service, rows):
    at = dt.datetime.now(dt.UTC).isoformat()
    tellings = [service.purchase("order-1", at=at, **other) for other in ({}, {}, {"value_micros": 6})]
    assert [each.status_code for each in tellings] == [202] * 3
    said = [[each.json()[name] for name in ("queued", "reason", "differs")] for each in tellings]
    assert said == [[True, "new", []], [False, "known", []], [False, "differs", ["value_micros"]]]
    assert "purchase order-1 is kept otherwise (value_micros), which stands" in service.log.read_text()
    kept = rows("SELECT * FROM purchase_signals")
    assert [each["event_id"] for each in kept] == ["order-1"] and kept[0]["value_micros"] == 5_000_000


def test_a_purchase_of_somebody_known_enters_the_journey_and_the_patterns(service, folder, rows):
    now = dt.datetime.now(dt.UTC)
    with JourneyStore(f"sqlite:///{folder}/service.db") as store:
        click = Event(
            person="ann", event_id="c1", at=now - dt.timedelta(days=2), kind="click", channel="Email"
        )
        store.append([click], now)
    for _ in range(2):
        assert service.purchase("order-9", person="ann").status_code == 202
    sold = rows("SELECT event_id, value_micros FROM conversions")
    assert [tuple(each.values()) for each in sold] == [("ga4:sale:order-9", 5_000_000)]
    assert [each["conversion_id"] for each in rows("SELECT conversion_id FROM pattern_journeys")] == [
        "ga4:sale:order-9"
    ]


def test_a_purchase_that_is_not_signed_or_old_is_refused(service):
    old = service.purchase("order-2", at_s=int(time.time()) - 301)
    assert old.status_code == 401 and old.json()["error"] == "webhook-timestamp"
    body = b'{"at": "2026-01-01T00:00:00Z"}'
    headers = signed("order-3", int(time.time()), body)
    altered = service.call("POST", "/api/events/purchase", content=body + b" ", headers=headers)
    assert altered.status_code == 401 and altered.json()["error"] == "webhook-signature"
    assert SECRET not in altered.text
    missing = service.call("POST", "/api/events/purchase", content=body)
    assert missing.status_code == 422 and missing.json()["error"] == "webhook-id"


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"at": "yesterday"}, "at"),
        ({"at": "2199-01-01T00:00:00Z"}, "at"),
        ({"at": "2026-01-01T00:00:00"}, "at"),
        ({"at": 1_767_225_600}, "at"),
        ({"clicked_at": "1767225600"}, "clicked_at"),
        ({"at": "0001-01-01T00:00:00Z"}, "at"),
        ({"clicked_at": "2199-01-01T00:00:00Z"}, "clicked_at"),
        ({"value_micros": -1}, "value_micros"),
        ({"value_micros": 1.5}, "value_micros"),
        ({"currency": "usd"}, "currency"),
        ({"prediction_id": "a\0b"}, "prediction_id"),
        ({"surprise": 1}, "surprise"),
    ],
)
def test_a_purchase_that_cannot_be_is_refused_by_name(service, changes, error):
    answer = service.purchase("order-4", **changes)
    assert answer.status_code == 422 and answer.json()["error"] == error, answer.text


def tell(service, *outcomes):
    return service.call("POST", "/api/ml/outcomes", json={"outcomes": list(outcomes)})


def test_what_came_of_a_prediction_is_kept_and_restated(service, rows):
    served = [ask(service).json()["prediction_id"] for _ in range(2)]  # told of at once: recorded before
    yesterday = (dt.datetime.now(dt.UTC) - dt.timedelta(days=1)).date().isoformat()
    first, other = ({"prediction_id": each, "day": yesterday, "trials": 90, "events": 2} for each in served)
    answer = tell(service, first)
    assert (answer.status_code, answer.json()) == (202, {"told": 1, "new": 1, "restated": 0}), answer.text
    answer = tell(service, {**first, "events": 3}, other)
    assert (answer.status_code, answer.json()) == (202, {"told": 2, "new": 1, "restated": 1})
    kept = rows(f"SELECT * FROM prediction_comparisons WHERE prediction_id = '{served[0]}'")
    assert [(each["trials"], each["events"]) for each in kept] == [(90, 3)]
    stats = service.call("GET", "/api/ml/stats").json()
    assert (stats["samples"]["trials"], stats["samples"]["events"]) == (180, 5)
    assert service.metric('gaelp_outcomes_total{result="new"}') == 2


def test_outcomes_that_repeat_or_lie_before_their_prediction_are_refused_by_name(service):
    served = ask(service).json()["prediction_id"]
    today = dt.datetime.now(dt.UTC).date()
    told = {"prediction_id": served, "day": today.isoformat(), "trials": 9, "events": 1}
    answer = tell(service, told, {**told, "events": 2})
    body = answer.json()
    assert answer.status_code == 422 and "index 0" in body["allowed"] and "Sum" in body["remedy"]
    assert body["value"] == f"{today} (index 1, prediction {served})"
    last_year = today - dt.timedelta(days=365)
    answer = tell(service, {**told, "day": last_year.isoformat()})
    assert (answer.status_code, answer.json()["error"]) == (422, "day")
    assert answer.json()["value"] == f"{last_year} (index 0, prediction {served})"
    assert tell(service, told).json() == {"told": 1, "new": 1, "restated": 0}


@pytest.mark.parametrize("kind", [None, "application/x-www-form-urlencoded", "text/plain"])
@pytest.mark.parametrize("path", [*SENT, "/api/ml/check-retrain"])
def test_a_body_that_is_not_said_to_be_json_is_refused_by_its_header(service, path, kind):
    body = json.dumps(SENT.get(path, {"trigger": "daily"})).encode()
    answer = service.call("POST", path, content=body, headers={} if kind is None else {"content-type": kind})
    told = answer.json()
    assert (answer.status_code, told["error"], told["value"]) == (422, "Content-Type", kind)
    assert told["allowed"] == "must be application/json" and "b'" not in answer.text


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({}, "prediction_id"),  # nobody has served it
        ({"prediction_id": ""}, "outcomes.0.prediction_id"),
        ({"day": "2199-01-01"}, "day"),
        ({"day": "yesterday"}, "outcomes.0.day"),
        ({"day": 20000}, "outcomes.0.day"),
        ({"trials": 0}, "outcomes.0.trials"),
        ({"trials": 1.5}, "outcomes.0.trials"),
        ({"events": 9}, "outcome"),
        ({"clicks": 1}, "outcomes.0.clicks"),
    ],
)
def test_outcomes_that_cannot_be_are_refused_by_name(service, changes, error):
    told = {"prediction_id": "nobodys", "day": "2026-01-01", "trials": 8, "events": 1, **changes}
    answer = tell(service, told)
    assert answer.status_code == 422 and answer.json()["error"] == error, answer.text
    if not changes:
        assert answer.json()["value"] == "nobodys"
    if error in ("day", "outcome"):
        assert "(index 0, prediction nobodys)" in answer.json()["value"]


def test_a_batch_of_outcomes_has_a_limit(service):
    told = {"prediction_id": "nobodys", "day": "2026-01-01", "trials": 8, "events": 1}
    assert tell(service).status_code == 422
    assert tell(service, *[told] * 4).json()["allowed"] == "must be at most 3"


def test_what_was_done_is_counted(service):
    assert ask(service).status_code == 200 and service.call("GET", "/nowhere").status_code == 404
    at = dt.datetime.now(dt.UTC).isoformat()
    assert [service.purchase("counted-1", at=at).json()["queued"] for _ in range(2)] == [True, False]
    assert service.metric('gaelp_http_requests_total{method="POST",path="/api/ml/predict",status="200"}') > 0
    assert service.metric('gaelp_http_requests_total{method="GET",path="other"') > 0
    end = time.monotonic() + PATIENCE_S  # what is served is recorded a little later
    while service.metric("gaelp_predictions_served_total{") > service.metric(
        "gaelp_predictions_recorded_total "
    ):
        assert time.monotonic() < end, service.log.read_text()
        time.sleep(0.05)
    served = service.metric("gaelp_predictions_served_total{")
    assert service.metric("gaelp_predictions_recorded_total ") == served > 0
    assert service.metric("gaelp_predictions_lost_total{") == 0
    assert service.metric('gaelp_purchase_events_total{result="known"}') >= 1
