"""The 41 features of a journey: against a slow second implementation, blind to truth and to the future."""

import json
import math
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gaelp.core.errors import BadInput, MismatchError
from gaelp.core.words import LINES, N_LINES, NO_LINE, Channel, Query, TouchKind
from gaelp.observation.features import FeatureTable
from gaelp.observation.journey import (
    JOURNEY_FEATURES,
    JOURNEY_LIMIT,
    MISSING,
    N_CATEGORIES,
    Normaliser,
    account_features,
    journey_features,
)
from gaelp.observation.journey_inputs import NO_DEVICE, AccountHours, seen_by_person

MARKET = "markets/family_safety.toml"
PAGE = Path(__file__).parents[2] / "docs/reference/journey_features.md"
HOURS = 1200
AT = JOURNEY_FEATURES.index
CAME = (TouchKind.CLICK, TouchKind.VISIT, TouchKind.SEARCH)
VIEWS = (TouchKind.IMPRESSION, TouchKind.EMAIL_OPEN)
NAN = math.nan


# ---- the slow second implementation: lists of events, one feature after another ----


def level_of(touches):
    came = [e for e in touches if e["kind"] in CAME]
    brand = any(query_of(e) == Query.OWN_BRAND for e in came)
    if len(came) >= 4 or brand:
        return 4
    if came and came[-1]["hour"] - came[0]["hour"] >= 24:
        return 3
    return 2 if came else int(any(e["kind"] in VIEWS for e in touches))


def query_of(event):
    return None if event["line"] == NO_LINE else LINES[event["line"]].query


def by_search(event):
    return event["channel"] in (Channel.SEARCH, Channel.ORGANIC) or event["kind"] == TouchKind.SEARCH


def faded(events, t, half_life, weight=lambda _: 1.0):
    return sum(weight(e) * 0.5 ** ((t - e["hour"]) / half_life) for e in events)


def tie_rule(e):
    sold = e["kind"] == TouchKind.CONVERSION
    return e["hour"], sold, e["kind"], e["channel"], e["line"], e["device"]


def slow_person(events, told, share, t):
    """The 27 features of journey and user."""
    seen = sorted((e for e in events if e["shown"] <= t), key=tie_rule)
    journeys = [[]]
    for e in seen:
        if e["kind"] == TouchKind.CONVERSION:
            journeys.append([])
            continue
        if journeys[-1] and e["hour"] - journeys[-1][-1]["hour"] > 720:
            journeys.append([])
        journeys[-1].append(e)
    now = journeys[-1]
    if now and t - now[-1]["hour"] > 720:
        now = []
    sees_views, sees_came = told[:, list(VIEWS)].any(), told[:, list(CAME)].any()
    sees_sales = told[:, TouchKind.CONVERSION].any()
    last = [1 + e["channel"] for e in reversed(now[-3:])] + [0, 0, 0]
    kinds = Counter(e["kind"] for e in now)
    views = sum(kinds[k] for k in VIEWS)
    paid = [
        e for e in now
        if e["channel"] <= Channel.EMAIL and e["kind"] in (*VIEWS, TouchKind.CLICK)
    ]  # fmt: skip
    costs = [e["cost_usd"] for e in paid if not math.isnan(e["cost_usd"])]
    unseen = sum(
        e["kind"] == TouchKind.CLICK and not told[e["channel"], list(VIEWS)].any() for e in paid
    )  # clicks whose impression no platform shows
    spend = math.log(1 + sum(costs)) if now and (costs or not paid) else NAN
    rivals = math.log(1 + (views + unseen) * (1 - share) / share) if now and share > 0 else NAN
    level = level_of(now)
    before = level_of([e for e in now if e["hour"] <= t - 168])
    came = [e for e in seen if e["kind"] in CAME]
    all_views = [e for e in seen if e["kind"] in VIEWS]
    sales = [e for e in seen if e["kind"] == TouchKind.CONVERSION]
    since = [e for e in came if not sales or tie_rule(e) > tie_rule(sales[-1])]
    day, week = faded(came, t, 24) * math.log(2), faded(came, t, 168) * math.log(2) / 7
    hot = [e for e in came if t - e["hour"] <= 72]
    if sales:
        segment = 5
    elif len(hot) >= 2 and any(map(by_search, hot)):
        segment = 1
    elif (
        len(came) >= 3
        and len({e["channel"] for e in came}) >= 2
        and came[-1]["hour"] - came[0]["hour"] >= 168
    ):
        segment = 2
    else:
        segment = 3 if came else 4 if len(all_views) >= 5 else 0
    rival_clicks = [e for e in came if query_of(e) == Query.RIVAL_BRAND]
    answers = [e for e in came if query_of(e) != Query.RIVAL_BRAND] + sales
    price = math.log((faded(all_views + rival_clicks, t, 672) + 1) / (faded(answers, t, 672) + 1))
    devices = [e["device"] for e in seen if e["device"] != NO_DEVICE]
    sure = [e["confidence"] for e in seen if not math.isnan(e["confidence"])]
    queries = [query_of(e) for e in came if query_of(e) is not None]
    return [
        *last[:3],
        1 + now[-1]["kind"] if now else 0,
        math.log(1 + (t - now[0]["hour"]) / 24) if now else NAN,
        math.log(1 + (t - now[-1]["hour"]) / 24) if now else NAN,
        math.log(1 + len(now)) if sees_views or sees_came else NAN,
        math.log(1 + views) if sees_views else NAN,
        math.log(1 + kinds[TouchKind.CLICK]) if sees_came else NAN,
        math.log(1 + kinds[TouchKind.VISIT] + kinds[TouchKind.SEARCH]) if sees_came else NAN,
        len({e["channel"] for e in now}) / 8 if sees_views or sees_came else NAN,
        spend,
        rivals,
        5 if level == 0 and sales else level,
        (level - before) / 4 if now else NAN,
        math.log((day + 0.1) / (week + 0.1)) if seen and sees_came else NAN,
        segment,
        math.log(1 + faded(all_views, t, 168)) if seen and sees_views else NAN,
        price if seen and sees_views and sees_came else NAN,
        math.log(1 + faded(since, t, 84, lambda e: 1 + by_search(e))) if seen and sees_came else NAN,
        math.log(1 + len(sales)) if sees_sales else NAN,
        1 + devices[-1] if devices else 0,
        len(set(devices)) / 3 if devices else NAN,
        (2 if any(e["login"] for e in seen) else 1) if seen else 0,
        sum(sure) / len(sure) if sure else NAN,
        sum(map(by_search, came)) / len(came) if came else NAN,
        queries.count(Query.OWN_BRAND) / len(queries) if queries else NAN,
    ]  # fmt: skip


def slow_account(a, traffic, w, h):
    """The 14 features of market and budget."""
    spend, cost, at_bid, views, clicks, share, sold, today, month, daily, monthly = range(11)

    def total(figure, half_life):
        pairs = [(k, a.figures[w, k, figure]) for k in range(h + 1)]
        return sum(v * 0.5 ** ((h - k) / half_life) for k, v in pairs if not math.isnan(v))

    def ratio(top, bottom):
        return math.log(top / bottom) if top > 0 and bottom > 0 else NAN

    def rate(half_life):
        return (total(clicks, half_life) + 0.5) / (total(views, half_life) + 50)

    def of(part, whole):
        return a.figures[w, h, part] / a.figures[w, h, whole] if a.figures[w, h, whole] > 0 else NAN

    hour = int(a.hour_of_week[h])
    midnight = hour - hour % 24
    gone = traffic[w, midnight:hour].sum() / traffic[w, midnight : midnight + 24].sum()
    value = a.value_usd[w]
    spent = sum(a.figures[w, k, spend] for k in range(max(0, h - 167), h + 1))
    clicked = total(cost, 24) > 0 and total(clicks, 24) > 0
    return [
        1 + hour % 24,
        1 + hour // 24,
        1 + hour // 6,
        math.sin(math.tau * a.day_of_year[h] / 365),
        math.cos(math.tau * a.day_of_year[h] / 365),
        math.log(total(cost, 24) / total(clicks, 24) / total(cost, 168) * total(clicks, 168))
        if clicked
        else NAN,
        math.log(rate(24) / rate(168)) if total(views, 168) > 0 else NAN,
        a.figures[w, h, share],
        ratio(total(cost, 24), total(at_bid, 24)),
        1 - of(today, daily),
        1 - of(month, monthly),
        of(today, daily) - gone,
        of(month, monthly) - a.month_gone[h],
        math.log((a.figures[w, h, sold] + 1) * value / (spent + value)),
    ]


# ---- random logs and accounts ----


def random_log(rng, n_people=4, n_events=30, n_worlds=2):
    """Columns of events on a grid of quarters of hours, many at equal times."""
    hour = rng.integers(0, 4 * HOURS, n_events) / 4
    if rng.random() < 0.5:
        hour = np.sort(rng.choice(hour, n_events))  # repeats
    log = {
        "person": rng.integers(-1, n_people, n_events),
        "hour": hour,
        "shown": hour + rng.choice([0, 0, 1, 24, 300], n_events),
        "kind": rng.choice([0, 0, 0, 1, 1, 2, 3, 4, 5], n_events),
        "channel": rng.integers(0, 8, n_events),
        "line": np.where(rng.random(n_events) < 0.4, NO_LINE, rng.integers(0, N_LINES, n_events)),
        "device": rng.choice([0, 1, 2, NO_DEVICE], n_events),
        "login": rng.random(n_events) < 0.1,
        "cost_usd": np.where(rng.random(n_events) < 0.5, NAN, rng.exponential(2, n_events)),
        "confidence": np.where(rng.random(n_events) < 0.5, NAN, rng.random(n_events)),
    }
    told = rng.random((n_worlds, 8, 6)) < rng.choice([0.05, 0.5, 1.0])
    return {"n_people": n_people, "told": told, **log}


def random_account(rng, n_worlds=2, n_hours=HOURS):
    figures = rng.exponential(1.0, (n_worlds, n_hours, 11))
    figures[..., 1:7][rng.random((n_worlds, n_hours, 6)) < 0.2] = NAN
    figures[..., 5] /= 1 + figures[..., 5]
    figures[..., 9:][rng.random((n_worlds, n_hours, 2)) < 0.1] = 0.0
    if rng.random() < 0.2:
        figures[..., 1:5] = NAN  # nothing was ever told
    traffic = rng.exponential(1.0, (n_worlds, 168)) + 0.01
    days = traffic.reshape(n_worlds, 7, 24)
    gone = (np.cumsum(days, axis=2) - days) / days.sum(axis=2, keepdims=True)
    hours = np.arange(n_hours)
    account = AccountHours(
        figures=figures,
        hour_of_week=(hours + 5) % 168,
        day_of_year=hours // 24 % 365,
        month_gone=hours % 730 / 730,
        gone=gone.reshape(n_worlds, 168),
        value_usd=rng.exponential(50.0, n_worlds) + 1,
    )
    return account, traffic


def decisions(rng, n_people, n=20):
    return (
        rng.integers(-1, n_people, n),
        rng.integers(0, 2, n),
        rng.integers(0, 4 * HOURS, n) / 4,
    )


def flat_account(n_worlds=1, n_hours=HOURS):
    return np.full((n_worlds, n_hours, 14), 0.5)


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), n_events=st.sampled_from([0, 3, 30, 120]))
def test_rows_equal_a_slow_second_implementation(seed, n_events):
    rng = np.random.default_rng(seed)
    log = random_log(rng, n_events=n_events)
    account, traffic = random_account(rng)
    asked = decisions(rng, log["n_people"], 8)
    rows = journey_features(seen_by_person(**log), account_features(account), 0, *asked)
    events = [
        {name: log[name][i].item() for name in log if name not in ("n_people", "told")}
        for i in range(n_events)
    ]
    for row, who, w, t in zip(rows, *(column.tolist() for column in asked), strict=True):
        own = [e for e in events if e["person"] == who and who >= 0]
        market = slow_account(account, traffic, w, int(t))
        expected = slow_person(own, log["told"][w], market[AT("market.impression_share") - 27], t) + market
        np.testing.assert_allclose(row, expected, rtol=1e-6, atol=1e-6, err_msg=str((who, w, t)))
    for name, n in N_CATEGORIES.items():
        codes = rows[:, AT(name)]
        assert ((codes >= 0) & (codes < n) & (codes == np.floor(codes))).all(), name


def test_there_are_41_named_features_in_four_groups():
    assert len(set(JOURNEY_FEATURES.names)) == len(JOURNEY_FEATURES) == 41
    groups = Counter(name.partition(".")[0] for name in JOURNEY_FEATURES.names)
    assert groups == {"journey": 16, "user": 11, "market": 9, "budget": 5}
    assert all(f.unit and f.normalisation and f.source for f in JOURNEY_FEATURES.features)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_nothing_that_becomes_known_later_moves_a_row(seed):
    rng = np.random.default_rng(seed)
    log = random_log(rng, n_people=2, n_events=40)
    account, _ = random_account(rng)
    t = float(np.quantile(log["hour"], 0.6))
    asked = ([-1, 0, 1], [0, 1, 0], [t, t, t])
    before = journey_features(seen_by_person(**log), account_features(account), 0, *asked)
    for i in np.flatnonzero(log["shown"] > t):
        changed = {name: np.array(column) for name, column in log.items() if name != "n_people"}
        changed["kind"][i] = (changed["kind"][i] + 1) % 6
        changed["channel"][i] = (changed["channel"][i] + 3) % 8
        changed["person"][i] = rng.integers(-1, 2)
        changed["cost_usd"][i], changed["confidence"][i] = 99.0, 0.0
        changed["line"][i], changed["device"][i], changed["login"][i] = 3, 1, True
        after = journey_features(seen_by_person(**changed, n_people=2), account_features(account), 0, *asked)
        np.testing.assert_array_equal(after, before)
    later = account.figures.copy()
    later[:, int(t) + 1 :] = 7.0
    other = account_features(replace(account, figures=later))
    np.testing.assert_array_equal(journey_features(seen_by_person(**log), other, 0, *asked), before)


def test_an_event_counts_from_the_hour_at_which_it_is_shown():
    told = np.ones((1, 8, 6), bool)
    events = seen_by_person(
        person=[0], n_people=1, hour=[10], shown=[34], kind=[1], channel=[Channel.SEARCH], told=told
    )
    rows = journey_features(events, flat_account(), 0, [0, 0, -1], [0, 0, 0], [33.9, 34.0, 34.0])
    np.testing.assert_array_equal(rows[0], rows[2])
    assert rows[1, AT("journey.last_channel")] == 1 + Channel.SEARCH
    assert rows[1, AT("journey.since_last")] == pytest.approx(math.log(2))


def test_people_without_cookie_or_login_are_strangers():
    rng = np.random.default_rng(3)
    log = random_log(rng, n_people=3, n_events=50)
    log["person"][log["person"] == 2] = -1  # both identities refused
    log["told"][:] = True
    rows = journey_features(seen_by_person(**log), flat_account(2), 0, [2, -1, 0], [0, 0, 0], [1100.0] * 3)
    np.testing.assert_array_equal(rows[0], rows[1])
    assert (rows[0] != rows[2]).any()
    person = [name for name in JOURNEY_FEATURES.names if name.startswith(("journey", "user"))]
    stranger = dict(zip(person, rows[0], strict=False))
    assert all(stranger[name] == 0 for name in person if name in N_CATEGORIES)
    inferred = ("user.fatigue", "user.price_sensitivity", "user.urgency", "journey.since_first")
    assert all(math.isnan(stranger[name]) for name in inferred)
    assert stranger["journey.touches"] == stranger["user.purchases"] == 0


@pytest.mark.parametrize(
    ("kinds", "missing"),
    [
        (VIEWS, {"journey.impressions", "user.fatigue", "user.price_sensitivity"}),
        (
            CAME,
            {
                *("journey.clicks", "journey.visits", "journey.engagement_trend"),
                *("user.urgency", "user.price_sensitivity"),
            },
        ),
        ((TouchKind.CONVERSION,), {"user.purchases"}),
    ],
)
def test_what_no_platform_shows_person_by_person_is_missing(kinds, missing):
    known = np.array([kind not in kinds for kind in (0, 1, 2, 4)])
    cells = {
        "person": np.zeros(4, int)[known],
        "n_people": 1,
        "hour": np.arange(4.0)[known],
        "shown": np.arange(4.0)[known],
        "kind": np.array([0, 1, 2, 4])[known],
        "channel": np.array([3, 0, 6, 5])[known],
    }
    told = np.ones((1, 8, 6), bool)
    told[:, :, list(kinds)] = False
    asked = (flat_account(), 0, [0], [0], [50.0])
    hidden = journey_features(seen_by_person(**cells, told=told), *asked)[0]
    shown = journey_features(seen_by_person(**cells, told=np.ones_like(told)), *asked)[0]
    gone = {JOURNEY_FEATURES.names[i] for i in np.flatnonzero(np.isnan(hidden) & ~np.isnan(shown))}
    assert gone == missing


def test_what_was_spent_on_a_user_is_missing_where_no_cost_is_known():
    told = np.ones((1, 8, 6), bool)
    cells = {"person": [0, 0], "n_people": 1, "hour": [1, 2], "shown": [1, 2], "kind": [1, 1]}
    for channel, cost, expected in (
        ([0, 0], [NAN, NAN], NAN),
        ([0, 0], [NAN, 3.0], math.log(4)),
        ([Channel.DIRECT] * 2, [NAN, NAN], 0.0),
    ):
        events = seen_by_person(**cells, channel=channel, cost_usd=cost, told=told)
        row = journey_features(events, flat_account(), 0, [0], [0], [9.0])[0]
        assert row[AT("journey.spend")] == pytest.approx(expected, nan_ok=True)


def test_the_order_of_the_log_and_other_people_change_nothing():
    rng = np.random.default_rng(4)
    log = random_log(rng, n_people=5, n_events=200)
    asked = (flat_account(2), 0, [0, 1, 2], [0, 1, 0], [900.0] * 3)
    rows = journey_features(seen_by_person(**log), *asked)
    order = rng.permutation(200)
    columns = {name: values for name, values in log.items() if name not in ("n_people", "told")}
    shuffled = {name: values[order] for name, values in columns.items()}
    again = seen_by_person(**shuffled, n_people=5, told=log["told"])
    np.testing.assert_allclose(journey_features(again, *asked), rows, rtol=1e-6, equal_nan=True)
    alone = {name: values[log["person"] < 3] for name, values in columns.items()}
    fewer = seen_by_person(**alone, n_people=3, told=log["told"])
    np.testing.assert_array_equal(journey_features(fewer, *asked), rows)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"hour": [NAN]}, "hour"),
        ({"shown": [0.0]}, "shown"),
        ({"kind": [9]}, "kind"),
        ({"channel": [8]}, "channel"),
        ({"line": [N_LINES]}, "line"),
        ({"device": [3]}, "device"),
        ({"cost_usd": [-1.0]}, "cost_usd"),
        ({"confidence": [1.5]}, "confidence"),
        ({"person": [2]}, "person"),
        ({"told": np.ones((1, 2, 3), bool)}, "told"),
        ({"channel": [0, 0]}, "channel"),
    ],
)
def test_bad_events_are_refused_by_name(change, named):
    good = {"person": [0], "n_people": 1, "hour": [1.0], "shown": [2.0], "kind": [1], "channel": [0]}
    with pytest.raises(BadInput, match=named):
        seen_by_person(**{**good, "told": np.ones((1, 8, 6), bool), **change})


@pytest.mark.parametrize(
    ("asked", "named"),
    [(([1], [0], [5.0]), "person"), (([0], [1], [5.0]), "world"), (([0], [0], [HOURS]), "hour")],
)
def test_decisions_that_nothing_is_known_of_are_refused(asked, named):
    told = np.ones((1, 8, 6), bool)
    events = seen_by_person(person=[], n_people=1, hour=[], shown=[], kind=[], channel=[], told=told)
    with pytest.raises(BadInput, match=named):
        journey_features(events, flat_account(), 0, *asked)


# ---- statistics ----


def test_statistics_are_measured_once_and_know_missing_and_categories(tmp_path):
    rng = np.random.default_rng(5)
    log = random_log(rng, n_people=200, n_events=1500)
    account, _ = random_account(rng)
    asked = decisions(rng, 200, 3000)
    rows = journey_features(seen_by_person(**log), account_features(account), 0, *asked)
    found = Normaliser.measure(rows)
    z = found.apply(rows)
    assert z.dtype == np.float32
    assert np.isfinite(z).all()
    category = np.array([name in N_CATEGORIES for name in JOURNEY_FEATURES.names])
    np.testing.assert_array_equal(z[:, category], rows[:, category])
    missing = np.isnan(rows)
    assert missing.any()
    assert (z[missing] == MISSING).all()
    assert (np.abs(z[:, ~category][~missing[:, ~category]]) <= JOURNEY_LIMIT).all()
    raw = (rows - found.mean) / found.scale
    seen = ~category & ~missing.all(axis=0)
    np.testing.assert_allclose(np.nanmean(raw[:, seen], axis=0), 0.0, atol=1e-5)
    moves = seen & (np.nanstd(np.where(missing.all(axis=0), 0.0, rows), axis=0) > 1e-5)
    np.testing.assert_allclose(np.nanstd(raw[:, moves], axis=0), 1.0, atol=1e-5)
    # through a file, and refused for another table
    np.savez(tmp_path / "it.npz", header=np.array(json.dumps(found.header())), **found.arrays())
    with np.load(tmp_path / "it.npz") as file:
        header, arrays = json.loads(str(file["header"])), dict(file)
    np.testing.assert_array_equal(Normaliser.restored(header, arrays).apply(rows), z)
    shorter = FeatureTable("journey", JOURNEY_FEATURES.features[1:])
    with pytest.raises(MismatchError, match=r"journey\.last_channel"):
        Normaliser.restored(header, arrays, shorter)
    with pytest.raises(BadInput, match="normaliser"):
        Normaliser.restored(header, {**arrays, "normaliser.scale": 0.0 * found.scale})


# ---- the page ----


def table_lines():
    lines = ["| # | feature | unit | normalisation | source |", "|---|---|---|---|---|"]
    for i, f in enumerate(JOURNEY_FEATURES.features):
        lines.append(f"| {i} | `{f.name}` | {f.unit} | {f.normalisation} | {f.source} |")
    return lines


def test_the_page_lists_the_table():
    page = PAGE.read_text()
    begin = page.index("| # |")
    assert page[begin : page.index("\n\n", begin)].splitlines() == table_lines()
    assert f"version `{JOURNEY_FEATURES.version}`" in page
