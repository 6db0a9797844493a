"""A thousand purchases at once are all kept, and lead to one retraining."""

import datetime as dt
import sqlite3
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import httpx

from gaelp.prediction.registry import Registry

from .conftest import PATIENCE_S
from .world import tell

N, CALLERS = 1000, 32


def test_a_thousand_purchases_at_once_lead_to_one_retraining(start, tmp_path, now):
    tell(f"{tmp_path}/service.db", now)
    service = start(
        tmp_path, settings="poll_s = 0.2", retraining="least_signals = 50\nmin_interval_minutes = 60\n"
    )
    names = [f"order-{each}" for each in range(N)] + [f"order-{each}" for each in range(0, N, 10)]
    with ThreadPoolExecutor(CALLERS) as callers:
        at = dt.datetime.now(dt.UTC).isoformat()
        answers = list(callers.map(lambda name: service.purchase(name, at=at), names))
    assert {each.status_code for each in answers} == {202}
    assert sum(each.json()["queued"] for each in answers) == N
    end = time.monotonic() + PATIENCE_S
    while not (runs := service.call("GET", "/api/ml/stats").json()["runs"]) or runs[0]["status"] == "running":
        assert time.monotonic() < end, service.log.read_text()
        time.sleep(0.2)
    time.sleep(1.0)  # as long as five more looks at the queue
    stats = service.call("GET", "/api/ml/stats").json()
    assert [(each["trigger"], each["status"]) for each in stats["runs"]] == [("purchase", "retrained")]
    assert stats["samples"]["purchases"] == 0  # today teaches nothing yet
    with closing(sqlite3.connect(tmp_path / "service.db")) as database:
        assert database.execute("SELECT COUNT(*) FROM purchase_signals").fetchone() == (N,)
    assert Registry(tmp_path / "models").aliases()["champion"] == "v000001"
    assert httpx.get(f"{service.url}/health").json()["model"] == "v000001"
    assert service.metric('gaelp_retrain_runs_total{status="retrained",trigger="purchase"}') == 1
    assert service.metric('gaelp_purchase_events_total{result="new"}') == N
    assert service.metric('gaelp_purchase_events_total{result="known"}') == N / 10
