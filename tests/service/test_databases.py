"""The API on SQLite and on PostgreSQL; and what it answers where its own files or tables are broken."""

import datetime as dt
import threading
from concurrent.futures import ThreadPoolExecutor

import httpx
import sqlalchemy as sa

from gaelp.journeys.database import Database
from gaelp.prediction.signals import CLOCK_SKEW_S

from .world import FEATURES, promote

FORM = {"error", "value", "allowed", "remedy"}
ALIEN = ("sql", "select", "psycopg", "error:", "gaelp_", "aliases.json", "registry")


def ask(service):
    return service.call("POST", "/api/ml/predict", json={"video_id": "clip-1", "features": FEATURES})


def assert_unavailable(answer):
    """The server's trouble, told without the words of its parts."""
    body = answer.json()
    assert answer.status_code == 503 and set(body) == FORM and body["error"] == "unavailable", answer.text
    assert not any(word in body["allowed"].lower() for word in ALIEN), body


def test_the_api_does_on_each_database_what_it_says(start, url, tmp_path, model, now):
    promote(tmp_path / "models", model, now)
    service = start(tmp_path, settings="poll_s = 0.5", database=url)
    database = Database(url)

    served = [ask(service).json() for _ in range(2)]
    assert {each["model_version"] for each in served} == {"v000001"}
    yesterday = (now - dt.timedelta(days=1)).date().isoformat()
    told = [
        {"prediction_id": each["prediction_id"], "day": yesterday, "trials": 90, "events": 2}
        for each in served
    ]
    for expected in ({"told": 2, "new": 2, "restated": 0}, {"told": 2, "new": 0, "restated": 2}):
        answer = service.call("POST", "/api/ml/outcomes", json={"outcomes": told})
        assert (answer.status_code, answer.json()) == (202, expected), answer.text

    # a clock that is a little ahead is no mistake, one that is far ahead is
    near = (dt.datetime.now(dt.UTC) + dt.timedelta(seconds=CLOCK_SKEW_S / 2)).isoformat()
    known = served[0]["prediction_id"]
    for reason in ("new", "known"):
        answer = service.purchase("order-1", at=near, prediction_id=known, person="ann")
        assert (answer.status_code, answer.json()["reason"]) == (202, reason), answer.text
    far = (dt.datetime.now(dt.UTC) + dt.timedelta(hours=2)).isoformat()
    refused = service.purchase("order-2", at=far)
    assert refused.status_code == 422 and set(refused.json()) == FORM
    assert refused.json()["error"] == "at" and refused.json()["value"] == far
    assert f"at most {CLOCK_SKEW_S} s ahead" in refused.json()["allowed"]

    checks = [
        service.call("POST", "/api/ml/check-retrain", headers={"Idempotency-Key": "once"}).json()
        for _ in range(2)
    ]
    assert checks[0]["status"] == "insufficient_data" and checks[1]["run_id"] == checks[0]["run_id"]
    stats = service.call("GET", "/api/ml/stats").json()
    assert stats["champion"] == "v000001" and [each["who"] for each in stats["runs"]] == ["api:test"]
    assert (stats["samples"]["trials"], stats["samples"]["events"], stats["queue"]["waiting"]) == (180, 4, 0)
    models = service.call("GET", "/api/ml/model-info").json()
    assert models["champion"]["name"] == "v000001" and models["previous"] is None
    with database.reading() as connection:
        counts = [
            connection.execute(sa.text(f"SELECT COUNT(*) FROM {table}")).scalar_one()
            for table in ("prediction_records", "prediction_comparisons", "purchase_signals", "conversions")
        ]
    assert counts == [2, 2, 1, 1]

    # a table is gone: the client hears that it is not his fault, and nothing of the database
    with database.writing() as connection:
        connection.execute(sa.text("DROP TABLE retraining_runs"))
    database.close()
    assert_unavailable(service.call("GET", "/api/ml/stats"))
    assert "retraining_runs" in service.log.read_text()
    failed = service.call("POST", "/api/ml/check-retrain")
    assert (failed.status_code, failed.json()["status"]) == (200, "error"), failed.text
    assert failed.json()["message"].endswith("is whole and has room, then ask again.")
    assert not any(word in failed.json()["message"] for word in ("Error", "SELECT", "Traceback", "sqlalche"))
    assert ask(service).status_code == 200


def test_a_purchase_told_to_two_services_at_one_moment_is_kept_once(start, url, tmp_path):
    folders = [tmp_path / name for name in ("one", "other")]
    for each in folders:
        each.mkdir()
    services = [start(each, settings="poll_s = 3600", database=url) for each in folders]
    at = dt.datetime.now(dt.UTC).isoformat()
    n_orders, n_tellers = 10, 6
    for order in range(n_orders):
        together = threading.Barrier(n_tellers)

        def tell(teller, order=order, together=together):
            together.wait()
            return services[teller % 2].purchase(f"order-{order}", at=at, person="ann").json()

        with ThreadPoolExecutor(n_tellers) as tellers:
            answers = list(tellers.map(tell, range(n_tellers)))
        assert sorted(each["reason"] for each in answers) == ["known"] * (n_tellers - 1) + ["new"]
        assert not any(each["differs"] for each in answers)
    database = Database(url)
    with database.reading() as connection:
        for table in ("purchase_signals", "conversions"):
            count = connection.execute(sa.text(f"SELECT COUNT(*) FROM {table}")).scalar_one()
            assert count == n_orders, table
    database.close()


def test_a_broken_file_of_aliases_is_the_servers_trouble(start, tmp_path, model, now):
    promote(tmp_path / "models", model, now)
    aliases = tmp_path / "models" / "aliases.json"
    whole = aliases.read_text()
    service = start(tmp_path)
    assert ask(service).status_code == 200
    for broken in (whole[:-20], "[]", '{"format": 1}', '{"format": 2, "moves": []}', ""):
        aliases.write_text(broken)
        for path in ("/api/ml/model-info", "/api/ml/stats"):
            assert_unavailable(service.call("GET", path))
        assert_unavailable(service.call("POST", "/api/ml/check-retrain", headers={"Idempotency-Key": "a"}))
        assert ask(service).json()["model_version"] == "v000001"  # the champion that was loaded serves on
    fresh = start(tmp_path)  # one that has loaded none
    assert_unavailable(ask(fresh))
    assert_unavailable(fresh.call("POST", "/api/ml/check-retrain"))
    assert httpx.get(f"{fresh.url}/health").json()["model"] is None
    assert "must be a readable JSON file" in fresh.log.read_text()
    aliases.write_text(whole)
    for each in (service, fresh):
        assert each.call("GET", "/api/ml/model-info").json()["champion"]["name"] == "v000001"
        assert ask(each).status_code == 200
    mended = service.call("POST", "/api/ml/check-retrain", headers={"Idempotency-Key": "a"}).json()
    assert (mended["status"], mended["champion"]) == ("insufficient_data", "v000001")
