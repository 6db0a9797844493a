"""Replications: what is flown, what is counted, and what sums of known worlds must answer."""

import json
import re
from typing import Any

import numpy as np
import pytest

from gaelp.core.errors import BadInput
from gaelp.core.words import LINES, PAID_CHANNELS, Channel, Query
from gaelp.evaluation.intervals import Interval
from gaelp.evaluation.replications import brand_search, observational, power, upstream
from gaelp.evaluation.replications.answer import Answer, ends
from gaelp.evaluation.replications.findings import FINDINGS, hours, replicate
from gaelp.evaluation.replications.flights import OWN_BRAND, bought, fly_tested, lines_of, lives
from gaelp.evaluation.replications.page import render
from gaelp.evaluation.replications.power_tests import estimates
from gaelp.evaluation.suites import NamedPolicy
from gaelp.evaluation.task_flights import Task, Terms, fly_task
from gaelp.market.file import MarketFile, load
from gaelp.market.state import CLICKS, IMPRESSIONS, SPEND
from gaelp.platforms.lift import lift_of
from gaelp.worlds.executors import make_executor
from gaelp.worlds.splits import split_worlds
from gaelp.worlds.twins import ALL_LINES

MARKET = "markets/family_safety.toml"
TERMS = Terms(n_people=1_500, days=6, runoff_days=4)


@pytest.fixture(scope="module")
def file() -> MarketFile:
    return load(MARKET)


@pytest.fixture(scope="module")
def task(file: MarketFile) -> Task:
    return Task(split_worlds(file, "validation", 2, 3), NamedPolicy("pacing", MARKET), TERMS)


@pytest.fixture(scope="module")
def tested(task: Task) -> Any:
    """A flight with lift tests and its events."""
    return fly_tested(task, lambda _: None, holdout=0.5, events=True)


@pytest.fixture(scope="module")
def sums(task: Task) -> dict[str, dict[str, Any]]:
    return {name: finding.fly(task, lambda _: None) for name, finding in FINDINGS.items()}


def test_a_finding_reads_every_world_by_itself(task: Task, sums: dict[str, Any]) -> None:
    """Cut another way, worlds say the same: neither an executor nor its size can be seen."""
    for name in ("brand-search", "upstream"):
        alone = FINDINGS[name].fly(Task(task.worlds[1:], task.make, TERMS), lambda _: None)
        for key, values in sums[name].items():
            np.testing.assert_array_equal(alone[key], values[1:], err_msg=f"{name} {key}")


@pytest.mark.slow
def test_processes_change_nothing(file: MarketFile, task: Task) -> None:
    worlds = split_worlds(file, "validation", 10, 3)  # two tasks
    terms = Terms(n_people=300, days=2, runoff_days=1)
    told: list[int] = []
    with make_executor("processes", 2) as executor:
        there = replicate("power", worlds, task.make, terms, executor=executor, tick=told.append)
    here = replicate("power", worlds, task.make, terms)
    assert there.as_dict() == here.as_dict()
    assert sum(told) == hours("power", 10, terms)


@pytest.mark.parametrize("name", FINDINGS)
def test_a_progress_bar_ends_where_it_said(name: str, task: Task) -> None:
    told: list[int] = []
    FINDINGS[name].fly(task, told.append)
    assert sum(told) == hours(name, 2, TERMS)


def test_a_yardstick_is_refused(task: Task) -> None:
    seeing = Task(task.worlds, NamedPolicy("line_oracle", MARKET), TERMS)
    with pytest.raises(BadInput, match="must be one that could be flown"):
        fly_task(seeing, lambda _: None)


def test_a_holdout_takes_its_share_of_the_budget(task: Task, tested: Any) -> None:
    whole = fly_task(task, lambda _: None)
    assert whole.after.books.events.shape[1] == 0  # no log unless asked for
    np.testing.assert_allclose(tested.flight.daily_budget_usd, 0.5 * whole.flight.daily_budget_usd)
    per_day = tested.flight.report[..., SPEND].sum(axis=1) / 1e6 / TERMS.days
    assert (per_day <= tested.flight.daily_budget_usd * 1.0001).all()


def test_brand_search_counts_what_the_silent_twin_has_instead(task: Task) -> None:
    task = Task(task.worlds, task.make, Terms(n_people=8_000, days=8, runoff_days=3))
    found = brand_search.fly(task, lambda _: None)
    flown = fly_task(task, lambda _: None)
    quiet = flown.without(OWN_BRAND, lambda _: None)
    clicks = flown.flight.report[:, OWN_BRAND, CLICKS].sum(axis=1)
    assert (found["clicks"] == clicks).all() and clicks.sum() > 0
    paid = [m.books.visits[:, 0, Channel.SEARCH] for m in (flown.after, quiet)]
    others = [m.books.visits[:, 0].sum(axis=1) - p for m, p in zip((flown.after, quiet), paid, strict=True)]
    # visits lost: paid clicks gone, less what came by every other way
    np.testing.assert_array_equal(found["visits_lost"], (paid[0] - paid[1]) - (others[1] - others[0]))
    organic = [m.books.visits[:, 0, Channel.ORGANIC] for m in (flown.after, quiet)]
    np.testing.assert_array_equal(found["organic_back"], organic[1] - organic[0])
    assert found["organic_back"].sum() > 0.5 * clicks.sum()  # most of what stops being paid for comes anyway
    dark = flown.without(ALL_LINES, lambda _: None)
    np.testing.assert_array_equal(found["all_caused"], flown.caused(dark))
    for w in range(2):
        made = flown.after.decisions(w)
        made = made[(made["brand"] == 0) & (made["hour"] >= flown.flight.start)]
        end = flown.flight.start + flown.flight.hours
        mine = [
            row
            for row in made
            if row["hour"] < end
            and row["book_hour"] < flown.after.hour
            and row["line"] != 255
            and LINES[row["line"]].query is Query.OWN_BRAND
        ]
        assert found["attributed"][w] == len(mine)
        there = set(lives(bought(quiet, w, flown.flight.start)).tolist())
        again = [row for row in mine if (int(row["person"]) << 16 | int(row["generation"])) in there]
        assert found["same_buyers"][w] == len(again)
    assert (found["rivals"] >= 0).all() and (found["rivals"] <= 5).all()


def test_whom_no_ad_reached_the_twin_leaves_alone(tested: Any) -> None:
    """What makes the twins' lift one of the people reached: a silent channel changes nothing for others."""
    for channel in PAID_CHANNELS:
        twin = tested.without(lines_of(channel), lambda _: None)
        for w in range(2):
            exposed = observational._exposed(tested.after, w)[:, channel]
            here, there = (observational._counts(m, w, tested) for m in (tested.after, twin))
            np.testing.assert_array_equal(here[~exposed], there[~exposed])


def test_the_unexposed_are_of_the_group_that_is_shown(tested: Any) -> None:
    for w in range(2):
        people = observational._People(tested, w)
        bought_before = tested.snapshot.pop.people["owner"][w] == 0
        assert bought_before.any() and not people.counted[bought_before].any()
        for channel in PAID_CHANNELS:
            ghost, weight = people.ghosts[channel], people.group(channel)
            entered = ghost["life"] == people.generation + 1
            held = entered & (ghost["held_out"] == 1)
            assert not weight[held].any() and not people.exposed[held & people.counted, channel].any()
            assert set(weight[people.counted & ~held]) <= {1.0, 0.5}
            assert (weight[people.counted & ~entered] == 0.5).all()
            row = people.read(channel, 0.0)
            assert row["people"] == weight.sum() and row["truth"] == row["sales"]  # nothing was caused
            part = (row["sales"] - people.read(channel, 10.0)["truth"]) / 10.0
            made = tested.after.decisions(w)
            made = made[(made["brand"] == 0) & (made["hour"] >= tested.flight.start)]
            assert part == pytest.approx(people.sales[people.counted].sum() / len(made))


def test_what_is_known_beforehand_holds_no_truth(tested: Any) -> None:
    """Nothing that only the market knows moves it; what an account sees does."""
    snapshot = tested.snapshot.copy()
    before = observational.known_before(snapshot, 0)
    people = snapshot.pop.people[0]
    rng = np.random.default_rng(1)
    for name in ("need", "ln_need", "urgency", "activity", "attention", "price_sensitivity", "stage",
                 "segment", "home_segment", "rhythm", "exit_day", "affinity"):  # fmt: skip
        people[name] = rng.permutation(people[name])
    snapshot.pop.goodwill[0] = rng.permutation(snapshot.pop.goodwill[0])
    np.testing.assert_array_equal(observational.known_before(snapshot, 0), before)
    snapshot.pop.memory["visits"][0, :, 0] = 7
    snapshot.pop.memory["cookies"][0, :, 0] = 1
    assert (observational.known_before(snapshot, 0) != before).any()
    assert np.isfinite(before).all() and before.shape[0] == TERMS.n_people


def test_a_visitor_nobody_recognises_is_not_known_to_have_visited(tested: Any) -> None:
    snapshot = tested.snapshot.copy()
    memory = snapshot.pop.memory[0, :, 0]
    memory["cookies"], memory["mail"] = 0, 0
    blind = observational.known_before(snapshot, 0)
    memory["visits"], memory["last_visit"], memory["last_click"] = 9, snapshot.hour - 1, snapshot.hour - 1
    np.testing.assert_array_equal(observational.known_before(snapshot, 0), blind)


def test_observational_sums_hold_together(sums: dict[str, Any], tested: Any) -> None:
    found = sums["observational"]
    names = [channel.name.lower() for channel in PAID_CHANNELS]
    assert {key.removeprefix(f"{names[0]}_") for key in found if key.startswith(names[0])} == {
        *("people", "exposed", "sales", "spend_usd"),
        *observational.METHODS,
    }
    for name, channel in zip(names, PAID_CHANNELS, strict=True):
        assert (found[f"{name}_exposed"] <= found[f"{name}_people"]).all()
        shown = tested.flight.report[:, lines_of(channel), IMPRESSIONS].sum(axis=1)
        assert (found[f"{name}_exposed"] <= shown).all()
    assert found["social_exposed"].sum() > 100


def test_upstream_ways_add_up_to_who_buys_only_because_of_the_channel(
    task: Task, sums: dict[str, Any]
) -> None:
    found = sums["upstream"]
    flown = fly_task(task, lambda _: None, events=True)
    for channel in upstream.UPPER:
        name = channel.name.lower()
        twin = flown.without(lines_of(channel), lambda _: None)
        people = [
            [set(lives(bought(m, w, flown.flight.start)).tolist()) for m in (flown.after, twin)]
            for w in range(2)
        ]
        net = [len(here - there) - len(there - here) for here, there in people]
        np.testing.assert_array_equal(found[f"{name}_via_any"], net)
        last = sum(found[f"{name}_via_{way}"] for way in ("own", "search", "direct", "other"))
        np.testing.assert_array_equal(last, net)
        visits = flown.after.books.visits[:, 0, Channel.DIRECT] - twin.books.visits[:, 0, Channel.DIRECT]
        np.testing.assert_array_equal(found[f"{name}_direct_visits"], visits)
        np.testing.assert_array_equal(found[f"{name}_caused"], flown.caused(twin))
        assert (found[f"{name}_brand_searches_without"] >= 0).all()


def test_searches_for_the_brand_are_those_that_people_made(file: MarketFile) -> None:
    """Counted by the account's line, bid for or not, against the touchpoints in people's own memory."""
    worlds = split_worlds(file, "validation", 1, 5)
    flown = fly_task(Task(worlds, NamedPolicy("pacing", MARKET), Terms(n_people=800, days=1, runoff_days=1)),
                     lambda _: None)  # fmt: skip
    counted = upstream._met(flown.after, lines_of(Channel.SOCIAL))["brand_searches"]
    before = upstream._met(flown.snapshot, lines_of(Channel.SOCIAL))["brand_searches"]
    ring = flown.after.pop.people["touches"][0].astype(np.int64)
    hour, brand, kind, channel = ring >> 13, (ring >> 7) & 63, (ring >> 4) & 7, ring & 15
    searches = (kind == 3) & (channel == Channel.SEARCH) & (hour >= flown.flight.start)
    remembered = (searches & (brand == Query.OWN_BRAND)).sum()
    # somebody may have left since, or have had more than twelve touchpoints in two days
    assert 0.8 * (counted - before)[0] <= remembered <= (counted - before)[0]


def test_position_credits_are_of_conversions_that_the_account_saw(task: Task) -> None:
    flown = fly_task(task, lambda _: None, events=True)
    credits = upstream.position_credits(flown)
    assert credits.shape == (2, len(Channel)) and (credits >= 0).all()
    for w in range(2):
        made = flown.after.decisions(w)
        booked = (made["brand"] == 0) & (made["book_hour"] >= flown.flight.start)
        booked &= made["book_hour"] < flown.after.hour
        assert credits[w].sum() <= booked.sum() + 1e-9


def test_the_tests_of_power_are_the_platforms(sums: dict[str, Any]) -> None:
    found = sums["power"]
    told, square = estimates(found, "social")
    for w in range(2):
        people, sales = (
            np.array([found[f"social_{arm}_{what}"][w] for arm in ("shown", "held")])
            for what in ("people", "sales")
        )
        caused, error = lift_of(people, sales)
        assert told[w] == caused and square[w] == pytest.approx(error**2)  # type: ignore[operator]


def made_up_tests(rng: np.random.Generator, worlds: int, rate: float, effect: float) -> dict[str, Any]:
    """Tests of 5,000 people an arm: sales at a rate, and what ads add; one channel spends."""
    found: dict[str, Any] = {}
    for channel in PAID_CHANNELS:
        name, on = channel.name.lower(), float(channel is Channel.SOCIAL)
        found[f"{name}_shown_people"] = np.full(worlds, 5_000.0 * on)
        found[f"{name}_held_people"] = np.full(worlds, 5_000.0 * on)
        found[f"{name}_shown_sales"] = on * rng.poisson(5_000 * (rate + effect), worlds)
        found[f"{name}_held_sales"] = on * rng.poisson(5_000 * rate, worlds)
        found[f"{name}_caused"] = np.full(worlds, on * 5_000 * effect)
        found[f"{name}_spend_usd"] = np.full(worlds, on * 600.0)
    told, square = estimates(found, "social")
    account = {
        "told": told,
        "square": square,
        "squares": square,
        "miss": (told - found["social_caused"]) ** 2,
    }
    account |= {key: found[f"social_{key}"] for key in ("caused", "spend_usd")}
    return found | {f"account_{key}": values for key, values in account.items()}


def test_the_account_is_tested_as_often_as_its_people_are_dealt(task: Task, sums: dict[str, Any]) -> None:
    found = sums["power"]
    flown = fly_task(task, lambda _: None)
    dark = flown.without(ALL_LINES, lambda _: None)
    np.testing.assert_allclose(found["account_caused"], 0.5 * flown.caused(dark))
    spend = flown.flight.report[..., SPEND].sum(axis=1)
    np.testing.assert_allclose(found["account_spend_usd"], 0.5 * spend / 1e6)
    # over many deals the squares are what a deal of all sales would have: half shown, half held
    sold = [sum(len(bought(m, w, flown.flight.start)) for m in (flown.after, dark)) / 2 for w in range(2)]
    np.testing.assert_allclose(found["account_squares"], sold, rtol=0.15)
    assert (found["account_miss"] > 0).all()


@pytest.mark.statistical
def test_the_spread_of_tests_is_what_the_formula_says(file: MarketFile) -> None:
    found = made_up_tests(np.random.default_rng(1), 4_000, 0.04, 0.002)
    terms = Terms(n_people=10_000, days=30)
    rows = {row.key: row.cells for row in power.answer(found, file, terms).rows}
    ratio = rows["spread_ratio"]["social"]
    assert abs(ratio.mean - 1.0) < 4 / np.sqrt(2 * 4_000)  # type: ignore[union-attr, operator]
    # 180 x 10 sales a world for 600 dollars: 300 points, by hand
    assert rows["roi_points"]["social"].mean == pytest.approx(200.0)  # type: ignore[union-attr]
    square = 5_000 * (0.042 + 0.04)
    width = 100 * 180 / 600 * 1.959964 * np.sqrt(square * 10_000)
    needed = rows["exclude_zero_people"]["social"].mean  # type: ignore[union-attr]
    assert needed == pytest.approx((width / 300.0) ** 2, rel=0.02)
    wanted = rows["wanted_people"]["social"].mean  # type: ignore[union-attr]
    assert wanted == pytest.approx((width / 10.0) ** 2, rel=0.02)


@pytest.mark.statistical
def test_as_many_people_as_are_named_exclude_no_effect_half_the_time(file: MarketFile) -> None:
    rng = np.random.default_rng(2)
    found = made_up_tests(rng, 400, 0.04, 0.002)
    rows = {row.key: row.cells for row in power.answer(found, file, Terms(n_people=10_000, days=30)).rows}
    half = rows["exclude_zero_people"]["social"].mean / 2  # type: ignore[union-attr, operator]
    shown, held = rng.poisson(half * 0.042, 20_000), rng.poisson(half * 0.04, 20_000)
    excluded = (shown - held) / np.sqrt(shown + held) > 1.959964
    assert abs(excluded.mean() - 0.5) < 0.03


def test_power_without_an_effect_names_no_number_of_people(file: MarketFile) -> None:
    found = made_up_tests(np.random.default_rng(3), 8, 0.04, 0.0)
    rows = {row.key: row.cells for row in power.answer(found, file, Terms(n_people=10_000, days=30)).rows}
    assert rows["exclude_zero_people"]["social"] == Interval(None, None, None)
    assert "search" not in rows["spend_usd"]  # nothing was spent there


def brand_sums(worlds: int) -> dict[str, Any]:
    ones = np.ones(worlds)
    return {
        "clicks": 100 * ones,
        "organic_back": 90 * ones,
        "visits_lost": 6 * ones,
        "attributed": 20 * ones,
        "same_buyers": 18 * ones,
        "caused": 1 * ones,
        "spend_usd": 50 * ones,
        "all_attributed": 200 * ones,
        "all_caused": 20 * ones,
        "all_spend_usd": 2_000 * ones,
        "rivals": 4 * ones,
    }


def test_brand_search_answers_by_hand(file: MarketFile) -> None:
    said = brand_search.answer(brand_sums(4), file, TERMS)
    brand = {row.key: row.cells["own-brand search"].mean for row in said.rows}  # type: ignore[union-attr]
    assert brand["clicks_back_share"] == pytest.approx(0.90)
    assert brand["visits_back_share"] == pytest.approx(0.94)
    assert brand["sales_anyway_share"] == pytest.approx(0.95)
    assert brand["attributed_cac_usd"] == 2.5 and brand["incremental_cac_usd"] == 50.0
    assert brand["incremental_roas"] == pytest.approx(file.ltv_usd / 50)
    account = {row.key: row.cells.get("whole account") for row in said.rows}
    assert account["incremental_cac_usd"].mean == 100.0  # type: ignore[union-attr]
    assert "90.0 %" in said.found[0] and "these worlds 10.0 %" in said.differs[0]


def test_ads_that_cause_nothing_have_no_cost_a_sale(file: MarketFile) -> None:
    sums = brand_sums(4) | {"caused": np.array([1.0, -2.0, 0.5, -1.0])}
    said = brand_search.answer(sums, file, TERMS)
    cells = {row.key: row.cells["own-brand search"] for row in said.rows}
    assert cells["incremental_cac_usd"] == Interval(None, None, None)
    assert "costs n/a" in said.found[1]


@pytest.mark.parametrize("name", FINDINGS)
def test_every_answer_is_whole(name: str, file: MarketFile, sums: dict[str, Any]) -> None:
    said = FINDINGS[name].answer(sums[name], file, TERMS)
    told = said.as_dict()
    assert len({row.key for row in said.rows}) == len(said.rows) and told["figures"].keys() == {
        row.key for row in said.rows
    }
    assert said.found and said.differs and said.columns
    assert json.dumps(told, allow_nan=False)
    for row in said.rows:
        assert set(row.cells) <= set(said.columns), row.key
        for column in said.columns:
            assert "nan" not in row.written(column).lower()
    assert "None" not in " ".join([*said.found, *said.differs])
    page = render({"title": "A page"}, {name: said}, {name: "pacing on 2 worlds"})
    figures = json.loads(re.search(r'id="chart-data">(.*?)</script>', page, re.DOTALL)[1])  # type: ignore[index]
    assert list(figures) == ["chart-1"] and figures["chart-1"]["data"]
    for sentence in ("What differs from the paper", "pacing on 2 worlds", said.paper.split(",")[0]):
        assert sentence in page


def test_what_comes_from_data_is_escaped_on_the_page(file: MarketFile) -> None:
    said = brand_search.answer(brand_sums(4), file, TERMS)
    evil = Answer(**{**said.__dict__, "title": "<script>x</script>", "found": ["<b>y</b>"]})
    page = render({"title": "<i>t</i>"}, {"brand-search": evil}, {"brand-search": "<u>z</u>"})
    for raw in ("<script>x", "<b>y</b>", "<i>t</i>", "<u>z</u>"):
        assert raw not in page


def test_intervals_in_sentences_name_missing_ends() -> None:
    assert ends(Interval(120.0, 90.0, None), "cac_usd") == "$120 ($90.00 to no bound)"
    assert ends(Interval(0.5, None, 0.75), "a_share") == "50.0 % (no bound to 75.0)"
    assert ends(Interval(1.0, None, None), "a_ratio") == "1.00"
    assert ends(Interval(None, None, None), "a_ratio") == "n/a"
    assert ends(Interval(1_234_567.0, 1_000_000.0, 2_000_000.0), "x_people") == "1.23 M (1 M to 2 M)"
    assert ends(Interval(950.0, None, None), "x_people") == "950"
