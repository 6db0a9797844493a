"""Young days of conversions neither teach as final nor judge, and delays teach where nearly all were told."""

import datetime as dt
from dataclasses import replace

import numpy as np
import pytest
import sqlalchemy as sa

from gaelp.prediction.accuracy import DAY_US, HOUR_US, AccuracyTracker, Outcome, Served
from gaelp.prediction.challenger import too_little
from gaelp.prediction.delay import DelayBuckets
from gaelp.prediction.model import load
from gaelp.prediction.retrain_config import RetrainConfig
from gaelp.prediction.retraining import PurchaseSignal, Retrainer
from gaelp.prediction.samples import LEAST_TOLD, read_lesson, read_samples
from gaelp.prediction.schema import purchase_signals
from gaelp.prediction.signals import keep_signal

from .streams import FIRST, fill, morning

DAY_0 = FIRST.toordinal() - dt.date(1970, 1, 1).toordinal()
FINAL_US = 2 * DAY_US  # after a day began: its end and a horizon of 24 hours
CVR = RetrainConfig(target="cvr", horizon_hours=24.0, model="logistic")


def three(tmp_path, *, told_us=(FINAL_US,) * 3, trials=(5, 4, 3), delays=((6, 20), (12,), (2,))):
    """Predictions of days 0, 1 and 2, clicked when these began, each event told as a purchase.

    Args:
        told_us: after its day began, when what came of each was told. trials: of each.
        delays: of each, hours from the click to its purchases.
    """
    with AccuracyTracker(tmp_path / "three.db") as tracker:
        for day in range(3):
            name, begin = f"p{day}", (DAY_0 + day) * DAY_US
            tracker.record(
                [
                    Served(
                        prediction_id=name, model_version="v", video_id="a", predicted=0.1, at=begin,
                        target="cvr", features={"x": day},
                    )
                ]
            )  # fmt: skip
            outcome = Outcome(
                prediction_id=name,
                day=FIRST + dt.timedelta(days=day),
                trials=trials[day],
                events=len(delays[day]),
            )
            tracker.match([outcome], begin + told_us[day])
            for number, hours in enumerate(delays[day]):
                at = begin + hours * HOUR_US
                signal = PurchaseSignal(event_id=f"{name}-{number}", at=at, prediction_id=name)
                keep_signal(tracker.database, signal, at)
        yield tracker.database


@pytest.fixture
def database(request, tmp_path):
    yield from three(tmp_path, **getattr(request, "param", {}))


def days(samples):
    return (samples.outcomes.day - DAY_0).tolist()


@pytest.mark.parametrize("database", [{"told_us": (FINAL_US, FINAL_US - 1, DAY_US)}], indirect=True)
def test_rows_told_before_they_were_final_do_not_judge(database):
    said = {"target": "cvr", "first": DAY_0, "end": DAY_0 + 3}
    assert days(read_samples(database, **said)) == [0, 1, 2]
    assert days(read_samples(database, **said, settled_us=DAY_US)) == [0]
    assert days(read_samples(database, **said, settled_us=DAY_US - 1)) == [0, 1]


@pytest.mark.parametrize(
    "database",
    [{"told_us": (FINAL_US, FINAL_US - 1, FINAL_US), "delays": ((), (), ())}],  # the third by a clock ahead
    indirect=True,
)
def test_without_purchases_only_final_rows_teach(database):
    said = {"target": "cvr", "first": DAY_0, "end": DAY_0 + 3, "horizon_hours": 24.0}
    found, few = read_lesson(database, **said, settled=DAY_0 + 2)
    assert days(found) == [0] and not found.delay.size
    assert (few.code, few.value, few.limit, few.days) == ("too_few_purchases_told", 0.0, LEAST_TOLD, 3)
    assert days(read_lesson(database, **said, settled=DAY_0 + 3)[0]) == [0, 2]
    clicks, few = read_lesson(database, **{**said, "target": "ctr"}, settled=DAY_0)
    assert len(clicks) == 0 and few is None


def test_delays_teach_young_rows_where_nearly_all_final_events_were_told(database):
    """Days 0 and 1 are final, with 3 events: 19 of 20 told are enough, 18 are not; nor are late ones."""
    said = {"target": "cvr", "first": DAY_0, "end": DAY_0 + 3, "settled": DAY_0 + 2}
    found, few = read_lesson(database, **said, horizon_hours=24.0)
    assert days(found) == [0, 1, 2] and found.delay.tolist() == [6, 20, 12, 2] and few is None
    with database.writing() as connection:
        late = purchase_signals.c.event_id == "p0-1"
        connection.execute(purchase_signals.update().where(late).values(at_us=DAY_0 * DAY_US + 25 * HOUR_US))
    found, few = read_lesson(database, **said, horizon_hours=24.0)
    assert days(found) == [0, 1] and not found.delay.size and few.value == pytest.approx(2 / 3)
    for told, share in ((19, 0.95), (18, 0.9)):
        outcomes = replace(found.outcomes, events=np.array([20, 0]), trials=np.array([30, 30]))
        # more purchases than events on the second row make up for none that miss on the first
        rows = np.repeat([0, 1], [told, 9])
        part = replace(found, outcomes=outcomes, purchase=rows, delay=np.full(rows.size, 24.0))
        assert part.told_share(24.0) == pytest.approx(share) and part.told_share(23.9) == 0


def test_a_day_is_mature_when_its_last_click_is_as_old_as_the_horizon(database):
    samples = read_samples(database, target="cvr", first=DAY_0, end=DAY_0 + 3)
    trials = np.array([10, 20, 40])
    rows = replace(
        samples,
        outcomes=replace(samples.outcomes, trials=trials),
        purchase=np.zeros(35, np.int64),
        delay=np.ones(35),
    )
    found = too_little(rows, replace(CVR, events=31), DAY_0 + 3)
    assert (found.code, found.value, found.limit) == ("too_few_events", 30, 31)
    assert too_little(rows, replace(CVR, events=30), DAY_0 + 3) is None


@pytest.mark.golden
def test_a_click_is_never_taken_for_older_than_it_is(database):
    """Three days at the end of the third: what each bucket may learn, by hand; the third day nothing."""
    samples = read_samples(database, target="cvr", first=DAY_0, end=DAY_0 + 3)
    rows = samples.examples(samples.columns(numeric=("x",)))
    assert (rows.hour - 24.0 * DAY_0).tolist() == [24, 24, 48, 72, 24, 48, 72]  # purchases, then the rest
    assert rows.weight.tolist() == [1, 1, 1, 1, 3, 3, 2]
    found = DelayBuckets((12.0, 24.0)).expand(rows, 24.0 * (DAY_0 + 3))
    said = zip(*found.numeric.T.tolist(), found.label.tolist(), found.weight.tolist(), strict=True)
    assert sorted(said) == sorted(
        [  # day, bucket, whether it came in it, trials
            (0, 0, True, 1), (0, 0, False, 1), (0, 0, False, 3), (1, 0, True, 1), (1, 0, False, 3),
            (0, 1, True, 1), (0, 1, False, 3), (1, 1, False, 3),
        ]
    )  # fmt: skip


def buy(database, share):
    """Tell a share of each prediction's events as purchases, within their horizon."""
    rng, rows = np.random.default_rng(0), []
    with database.writing() as connection:
        told = connection.execute(sa.text("SELECT prediction_id, day, events FROM prediction_comparisons"))
        for name, day, events in told.all():
            for _ in range(round(share * events)):
                at = day * DAY_US + 2 * HOUR_US + int(rng.uniform(60, 20 * 3600)) * 10**6
                cells = {"at_us": at, "clicked_us": None, "value_micros": 0, "currency": "USD"}
                rows.append(
                    {"event_id": f"e{len(rows)}", "prediction_id": name, "told_us": at, "run_id": None}
                    | cells
                )
        connection.execute(purchase_signals.insert(), rows)


@pytest.mark.parametrize(("share", "used"), [(0.2, False), (1.0, True)])
def test_a_share_of_purchases_biases_no_model(tmp_path, share, used):
    config = replace(CVR, shadow_days=2)
    with Retrainer(tmp_path / "a.db", tmp_path / "models", config) as retrainer:
        fill(retrainer.tracker, range(20), target="cvr", trials=100)
        with retrainer.database.writing() as connection:
            connection.execute(sa.text(f"UPDATE prediction_comparisons SET told_us = told_us + {2 * DAY_US}"))
        buy(retrainer.database, share)
        reply = retrainer.check(trigger="daily", who="test", now=morning(20))
        assert reply.status == "retrained", reply.message
        version = retrainer.registry.get("challenger")
        data = retrainer.model_info()["challenger"]["manifest"]["data"]
        assert version.name == "v000001" and (data["purchases"] > 0) == used
        assert ("delays" in reply.figures) != used
        assert data["last_day"] - DAY_0 == (19 if used else 18)  # the youngest day is not final
        if not used:
            assert reply.figures["delays"]["code"] == "too_few_purchases_told"
            assert reply.figures["delays"]["value"] == pytest.approx(share, abs=0.05)
        rows = read_samples(retrainer.database, target="cvr", first=DAY_0, end=DAY_0 + 18)
        model = load(version.folder)
        predicted = rows.score(model).predicted.mean()
        rate = rows.outcomes.events.sum() / rows.outcomes.trials.sum()
        assert abs(predicted / rate - 1) < 4 / np.sqrt(rows.outcomes.events.sum()) + 0.03
