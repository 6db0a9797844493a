"""Summary statistics of an account: counted by hand, and by plain loops."""

import json
import math
from collections import defaultdict
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from gaelp.core.errors import BadInput
from gaelp.core.words import Channel
from gaelp.data.ad_report import AD_COLUMNS
from gaelp.data.calibration_reading import read_observed, window
from gaelp.data.calibration_targets import STATISTICS, Observed, in_words, statistics_of

AT = {each.name: i for i, each in enumerate(STATISTICS)}


def some_account(seed: int = 0, n_visits: int = 400, n_sales: int = 60) -> Observed:
    generator = np.random.default_rng(seed)
    hours = 24 * 10
    channel = generator.integers(0, 9, n_visits)
    person = np.where(generator.random(n_visits) < 0.4, -1, generator.integers(0, 120, n_visits))
    return Observed(
        n_people=1000,
        n_days=10,
        hour=generator.integers(0, hours, n_visits),
        channel=channel,
        device=generator.integers(-1, 3, n_visits),
        person=person,
        is_logged_in=(person >= 0) & (generator.random(n_visits) < 0.3),
        sale_hour=generator.integers(0, hours, n_sales),
        sale_person=generator.integers(-1, 140, n_sales),
        sale_value=generator.choice([90.0, 180.0, 220.0], n_sales),
        ad_channel=generator.integers(0, 5, 300),
        ads=generator.integers(1, 50, (300, 4)).astype(float) * [20, 1, 1e5, 0.1],
    )


def test_rates_and_shares_are_those_counted_by_loops() -> None:
    seen = some_account()
    found = statistics_of(seen)
    days = seen.n_people * seen.n_days
    for channel in Channel:
        n = sum(1 for each in seen.channel.tolist() if each == channel)
        assert found[AT[f"visits_{channel.name.lower()}"]] == pytest.approx(math.log((n + 0.5) / days))
    refused = sum(1 for each in seen.person.tolist() if each < 0)
    wanted = math.log((refused + 0.5) / (seen.person.size - refused + 0.5))
    assert found[AT["refused"]] == pytest.approx(wanted)
    clicks = impressions = cost = 0.0
    for channel, row in zip(seen.ad_channel.tolist(), seen.ads.tolist(), strict=True):
        if channel == Channel.SOCIAL:
            impressions, clicks, cost = impressions + row[0], clicks + row[1], cost + row[2] / 1e6
    assert found[AT["impressions_social"]] == pytest.approx(math.log((impressions + 0.5) / days))
    wanted = math.log(1000 * (cost + 0.005) / (impressions + 0.5))
    assert found[AT["cost_social"]] == pytest.approx(wanted)


def test_lags_and_visits_before_a_sale_are_those_found_by_loops() -> None:
    seen = some_account()
    visits = defaultdict(list)
    for row in range(seen.hour.size):
        visits[int(seen.person[row])].append((int(seen.hour[row]), -int(seen.channel[row])))
    lags, before, paid = [], [], 0
    known = unvisited = 0
    for hour, person in zip(seen.sale_hour.tolist(), seen.sale_person.tolist(), strict=True):
        if person < 0:
            continue
        known += 1
        earlier = sorted(each for each in visits[person] if each[0] <= hour)
        if not earlier:
            unvisited += 1
            continue
        before.append(len(earlier))
        lags.append(hour - earlier[-1][0])
        paid += -earlier[-1][1] <= Channel.RETARGETING
    found = statistics_of(seen)

    def logit(n: int, of: int) -> float:
        return math.log((n + 0.5) / (of - n + 0.5))

    assert len(lags) > 15
    assert found[AT["sales_unvisited"]] == pytest.approx(logit(unvisited, known))
    assert found[AT["touches"]] == pytest.approx(math.log(1 + sum(before) / len(before)))
    assert found[AT["sales_paid"]] == pytest.approx(logit(paid, len(lags)))
    for hours in (1, 24, 96):
        within = sum(1 for lag in lags if lag < hours)
        assert found[AT[f"lag_{hours}h"]] == pytest.approx(logit(within, len(lags)))


def test_order_of_rows_and_names_of_people_do_not_matter() -> None:
    seen = some_account()
    generator = np.random.default_rng(1)
    visits, sales = generator.permutation(seen.hour.size), generator.permutation(seen.sale_hour.size)
    names = generator.permutation(200)
    shuffled = replace(
        seen,
        **{
            name: getattr(seen, name)[visits]
            for name in ("hour", "channel", "device", "person", "is_logged_in")
        },
        **{name: getattr(seen, name)[sales] for name in ("sale_hour", "sale_person", "sale_value")},
    )
    renamed = replace(
        shuffled,
        person=np.where(shuffled.person < 0, -1, names[shuffled.person]),
        sale_person=np.where(shuffled.sale_person < 0, -1, names[shuffled.sale_person]),
    )
    np.testing.assert_allclose(statistics_of(renamed), statistics_of(seen))


def test_an_account_in_which_nothing_happened_has_finite_statistics() -> None:
    nothing = np.zeros(0, np.int64)
    empty = Observed(
        n_people=100,
        n_days=1,
        hour=nothing,
        channel=nothing,
        device=nothing,
        person=nothing,
        is_logged_in=nothing > 0,
        sale_hour=nothing,
        sale_person=nothing,
        sale_value=nothing.astype(float),
        ad_channel=nothing,
        ads=np.zeros((0, 4)),
    )
    assert np.isfinite(statistics_of(empty)).all()


def test_words_undo_the_scales() -> None:
    found = statistics_of(some_account())
    words = in_words(found)
    scale = np.array([each.scale for each in STATISTICS])
    np.testing.assert_allclose(np.log(words[scale == "log"]), found[scale == "log"])
    share = words[scale == "logit"]
    np.testing.assert_allclose(np.log(share / (1 - share)), found[scale == "logit"])


def test_a_window_holds_both_ends_and_whole_days() -> None:
    for first, last in ((0, 0), (5, 23), (5, 28), (30, 24 * 30 + 29), (23, 24)):
        begin, days = window(first, last)
        assert begin <= first and last < begin + 24 * days and 24 * (days - 1) <= last - first


def test_ad_rows_of_other_days_than_the_exports_move_nothing(tmp_path: Path) -> None:
    events, ads = tmp_path / "events.json", tmp_path / "ads.csv"
    noon_us = 1_746_187_200_000_000  # 2025-05-02, 12:00 UTC
    rows = []
    for i in range(60):
        day = i // 20
        us = noon_us + day * 86_400_000_000 + i * 1_000_000
        row = {"event_date": f"2025050{2 + day}", "event_timestamp": str(us), "user_pseudo_id": f"{i}.1"}
        row["event_params"] = [{"key": "ga_session_id", "value": {"int_value": "7"}}]  # type: ignore[assignment]
        rows += [row | {"event_name": "session_start"}]
        order = {"transaction_id": f"t{i}", "purchase_revenue": 90.0}
        rows += [row | {"event_name": "purchase", "ecommerce": order, "event_timestamp": str(us + 1)}]
    stray = {**rows[0], "event_date": "20190502", "user_pseudo_id": "99.1"}  # its clock and its day disagree
    events.write_text("".join(json.dumps(row) + "\n" for row in [*rows, stray]))
    head = ",".join((*AD_COLUMNS, "hour")) + "\n"
    inside = [f"2025-05-0{day},search,{day}00,{day},1000000,1,{day}\n" for day in (2, 3, 4)]
    outside = [row.replace("2025", year) for row in inside for year in ("2019", "2024")]
    outside += ["2025-05-01,search,900,9,9,9,9\n", "2025-05-05,search,900,9,9,9,9\n"]
    ads.write_text(head + "".join(inside))
    wanted = read_observed(events, ads, 1000)
    assert (wanted.ads[:, 0].tolist(), wanted.ad_rows_outside) == ([200, 300, 400], 0)
    ads.write_text(head + "".join(outside + inside))
    found = read_observed(events, ads, 1000)
    assert found.ad_rows_outside == len(outside)
    np.testing.assert_array_equal(statistics_of(found), statistics_of(wanted))
    ads.write_text(head + "".join(outside))
    with pytest.raises(BadInput, match=r"8 rows of other days.*2025-05-02 to 2025-05-04"):
        read_observed(events, ads, 1000)


def test_an_export_with_hardly_anything_in_it_is_refused(tmp_path: Path) -> None:
    events = tmp_path / "events_20250502.json"
    events.write_text(
        '{"event_date":"20250502","event_timestamp":"1746187200000000","event_name":"session_start"}\n'
    )
    ads = tmp_path / "ads.csv"
    ads.write_text(",".join((*AD_COLUMNS, "hour")) + "\n")
    with pytest.raises(BadInput, match="visits"):
        read_observed(events, ads, 1000)
