"""The updater's models against second implementations, and what they tell agents and environments."""

import datetime as dt
import json
from collections import Counter
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
import typer
from typer.testing import CliRunner

from gaelp.agents.baselines import FixedPolicy
from gaelp.cli.update import update_command
from gaelp.core.words import LINES
from gaelp.data.discovery.found import Discovered
from gaelp.learning.updater.bids import SegmentBids
from gaelp.learning.updater.config import UpdaterConfig
from gaelp.learning.updater.counts import Counts, as_json, from_json, table
from gaelp.learning.updater.models import Models, logloss
from gaelp.learning.updater.practice import SegmentInfo, practise
from gaelp.learning.updater.segments import Segments
from gaelp.learning.updater.updating import Updater
from gaelp.market.file import load
from gaelp.worlds.flight import fly, make_market
from gaelp.worlds.splits import split_worlds

from .updater_episodes import ALIKE, write_episode

NOW = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
MARKET = Path(__file__).parents[2] / "markets" / "family_safety.toml"


def discovered(shares: dict[str, float], traits: dict[str, dict[str, dict[str, float]]]) -> Segments:
    items = [
        {"id": name, "name": f"those of {name}", "model_share": share, "traits": traits[name]}
        for name, share in shares.items()
    ]
    return Segments(Discovered({"segments": {"items": items}}))


TWO = discovered(
    {"a": 0.5, "b": 0.5},
    {
        "a": {"first_channel": {"Paid Search": 0.9, "other": 0.1}, "pace": {"comes once": 1.0}},
        "b": {"first_channel": {"Paid Search": 0.2, "other": 0.8}, "pace": {"comes once": 1.0}},
    },
)


def test_a_visitor_belongs_to_the_likeliest_segment_by_what_is_told() -> None:
    told = [
        {"first_channel": "Paid Search"},
        {"first_channel": "Direct", "pace": "comes once"},  # "other" here
        {"first_channel": "Paid Search", "pace": "a pace never met"},
    ]
    assert TWO.assign(told).tolist() == [0, 1, 0]
    assert Segments().assign(told).tolist() == [0, 0, 0]


def test_factors_are_the_rates_of_a_lines_mix_of_segments() -> None:
    counts: Counts = Counter()
    for segment, group, visits, sold in (
        ("a", "Paid Search", 6000, 720),
        ("b", "Paid Search", 2000, 40),
        ("b", "Paid Social", 8000, 160),
    ):
        counts["visits", segment, group, "mobile", "new"] = visits
        counts["sold", segment, group, "mobile", "new"] = sold
    models = Models(counts, TWO, UpdaterConfig(most=2.0))
    factors = dict(zip([line.name for line in LINES], models.line_factors.tolist(), strict=True))
    everybody = 920 / 16000
    assert factors["search_generic_mobile"] == pytest.approx(760 / 8000 / everybody, rel=0.01)
    assert factors["social_new_mobile"] == pytest.approx(0.5)  # 0.02 / 0.0575 = 0.35, bounded
    assert factors["social_engaged_mobile"] == factors["search_generic_desktop"] == 1.0  # never visited
    assert models.audiences()["lines"]["search_own_brand_mobile"] == {"a": 0.75, "b": 0.25}
    assert "search_own_brand_desktop" not in models.audiences()["lines"]


def test_click_rates_are_of_rows_that_tell_both_and_sums_of_all_that_is_told(tmp_path: Path) -> None:
    lines = ("search_generic_mobile", "social_new_mobile")
    head = "date,hour,channel,line,impressions,clicks,cost_micros,conversions\n"
    rows = [f"2025-03-01,{hour},search,{lines[0]},1000,50,7,\n" for hour in range(2)]
    rows += [f"2025-03-01,2,search,{lines[0]},9000,,7,\n", f"2025-03-01,3,search,{lines[0]},,300,7,\n"]
    rows += [f"2025-03-01,0,social,{lines[1]},500,,7,\n", f"2025-03-01,1,social,{lines[1]},,50,7,\n"]
    episode = write_episode(tmp_path / "e", seed=0, rates=ALIKE)
    (episode / "ads.csv").write_text(head + "".join(rows))
    updater = Updater(tmp_path / "u", UpdaterConfig(horizon_days=3.0))
    updater.episode(episode, NOW)
    models = updater.models()
    assert models is not None
    (told,) = models.click_rates()  # no row of the other line tells both
    assert (told["line"], told["impressions"], told["clicks"]) == (lines[0], 2000, 100)
    assert told["rate"] == pytest.approx(0.05, rel=0.02)
    assert table(models.counts, "impressions") == {(lines[0],): 11_000, (lines[1],): 500}
    assert table(models.counts, "clicks") == {(lines[0],): 400, (lines[1],): 50}
    assert table(models.counts, "cost_micros") == {(lines[0],): 28, (lines[1],): 14}


def test_a_small_cell_is_drawn_towards_its_segment() -> None:
    counts: Counts = Counter()
    alike = [(f"channel {i}", 1000, 95 + i) for i in range(10)]
    for channel, visits, sold in [*alike, ("Display", 2, 2)]:
        counts["visits", "everybody", channel, "mobile", "new"] = visits
        counts["sold", "everybody", channel, "mobile", "new"] = sold
    models = Models(counts, Segments(), UpdaterConfig())
    assert models.rate(("everybody", "Display", "mobile", "new")) < 0.15
    assert models.rate(("everybody", "Never", "mobile", "new")) == pytest.approx(997 / 10_002, abs=1e-3)


def test_the_lag_is_kaplan_meiers_of_all_visitors() -> None:
    draws = np.random.default_rng(3)
    hours, watched = (draws.exponential(scale, 4000).astype(int) for scale in (100, 300))
    lag, seen = np.minimum(hours, watched), hours <= watched
    counts: Counts = Counter({("lag", str(h)): n for h, n in Counter(lag[seen].tolist()).items()})
    counts.update({("open", str(h)): n for h, n in Counter(lag[~seen].tolist()).items()})
    told = Models(counts, Segments(), UpdaterConfig()).lag()
    share, still = {}, 1.0  # the product, written out
    for hour in range(24 * 14 + 1):
        still *= 1 - ((lag == hour) & seen).sum() / max((lag >= hour).sum(), 1)
        share[hour] = 1 - still
    for row in told["bought_by_day"][:4]:
        assert row["share"] == pytest.approx(share[int(24 * row["days"])])
        error = (row["high"] - row["low"]) / 3.92
        assert abs(row["share"] - (1 - np.exp(-24 * row["days"] / 100))) < 4 * error  # the law drawn from


def test_the_landscape_rises_and_is_the_nearest_that_does() -> None:
    auctions, won = [100, 400, 200, 300], [30, 40, 60, 90]
    counts: Counts = Counter({("eligible", "search", str(i)): n for i, n in enumerate(auctions)})
    counts.update({("won", "search", str(i)): n for i, n in enumerate(won)})
    landscape = Models(counts, Segments(), UpdaterConfig()).landscape()
    shares = [row["win_share"] for row in landscape["search"]["curve"]]
    # pooled by hand: .3 and .1 make 70 / 500 = .14; .3 and .3 rise already
    assert shares == pytest.approx([0.14, 0.14, 0.3, 0.3])
    assert [row["bid_usd"] for row in landscape["search"]["curve"]] == pytest.approx(
        [1, 2**0.25, 2**0.5, 2**0.75]
    )
    assert "unknown" in landscape["social"]


def test_logloss_is_least_for_the_rates_that_made_the_events() -> None:
    def of(sold: int) -> Models:
        cell = ("everybody", "Direct", "mobile", "new")
        return Models(Counter({("visits", *cell): 1000, ("sold", *cell): sold}), Segments(), UpdaterConfig())

    events = of(100).counts
    losses = [logloss(of(sold), events)[0] for sold in (20, 100, 300)]
    assert losses[1] == min(losses)
    p = 100.5 / 1001
    assert losses[1] == pytest.approx(-100 * np.log(p) - 900 * np.log(1 - p), rel=1e-3)


def test_counts_are_told_and_read_again() -> None:
    counts: Counts = Counter({("visits", "a", "Direct", "mobile", "new"): 3, ("revenue_micros",): 7})
    assert from_json(json.loads(json.dumps(as_json(counts)))) == counts


def test_bids_are_the_bases_times_the_factors_within_the_gate() -> None:
    file = load(MARKET)
    worlds = split_worlds(file, "train", 1, 0)
    factors = np.linspace(0.7, 1.4, len(LINES))
    bids = []
    for policy in (FixedPolicy(multiplier=0.5), SegmentBids(FixedPolicy(multiplier=0.5), factors)):
        flight = fly(make_market(worlds, 500), policy, days=1, traffic=None)
        assert flight.denied.sum() == 0
        bids.append(flight.bid[0, 0])
    assert bids[1] == pytest.approx(bids[0] * factors)


def test_episodes_of_practice_reach_the_models_and_the_environment(tmp_path: Path) -> None:
    file = load(MARKET)
    updater = Updater(tmp_path, UpdaterConfig(horizon_days=3.0))
    env = SegmentInfo(gymnasium.make("gaelp/Campaign-v0", market=MARKET, users=300, days=1), updater)
    assert env.reset(seed=0)[1]["segments"] is None
    worlds = split_worlds(file, "train", 2, 0)
    updates = practise(updater, worlds, FixedPolicy, n_people=600, days=9, now=NOW, by_segment=True, seed=1)
    assert [update.status for update in updates] == ["learned", "learned"]
    models = updater.models()
    assert models is not None
    assert {cell[1] for cell in table(models.counts, "visits")} >= {"Direct", "Paid Social"}
    assert {cell[2] for cell in table(models.counts, "visits")} <= {"mobile", "desktop", "tablet", "not told"}
    assert any("curve" in each for each in models.landscape().values())  # bids by hand are told
    (flown,) = updater._versions.champion().flown
    assert (flown.episode, flown.version) == ("e000002", "v000001")
    assert env.reset()[1]["segments"] == models.audiences()


def test_the_command_learns_folders_and_tells_the_models(tmp_path: Path) -> None:
    app = typer.Typer()
    app.command()(update_command)
    episode = write_episode(tmp_path / "e", seed=0, rates=ALIKE)
    arguments = [str(tmp_path / "u"), str(episode), "--horizon-days", "3", "--json", "--history"]
    arguments += ["--now", "2025-07-01"]  # UTC, as of all commands
    told: list[dict[str, Any]] = []
    for _ in range(2):
        ran = CliRunner().invoke(app, arguments)
        assert ran.exit_code == 0, ran.output
        told.append(json.loads(ran.stdout))
    assert [each["updates"][0]["status"] for each in told] == ["learned", "repeated"]
    assert told[0]["models"] == told[1]["models"]
    assert len(told[1]["history"]) == 1
    people = CliRunner().invoke(app, arguments[:1])
    assert people.exit_code == 0 and "Segments of v000001" in people.stdout
