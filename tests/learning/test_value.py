"""What lines are worth, the policy that is trained on it, and that it earns more than it must."""

import numpy as np
import pytest

from gaelp.agents.value import ValuePolicy
from gaelp.core.errors import BadInput
from gaelp.core.words import EMAIL_LINE, LINES, N_LINES
from gaelp.learning import worth
from gaelp.learning.practice import Practice
from gaelp.learning.value import _per_worth, train, world_hours
from gaelp.learning.worth import LARGEST, LineWorth
from gaelp.market.file import load
from gaelp.market.state import CLICKS, IMPRESSIONS, REPORT_FIELDS
from gaelp.worlds.registry import make_policy, write_checkpoint
from gaelp.worlds.tuned import tuned_for

FILE = load("markets/family_safety.toml")
TUNED = tuned_for(FILE)
SMALL = {"n_worlds": 4, "n_people": 3_000, "days": 12}
NAMES = [line.name for line in LINES]


def line_worth(**changes):
    plain = {
        "worth_usd": np.ones((3, N_LINES)),
        "guess": np.ones(N_LINES),
        "n_auctions": np.full(N_LINES, 10.0),
        "rate": np.full(N_LINES, 0.1),
        "spend_usd": np.ones(N_LINES),
        "n_worlds": 1,
    }
    return LineWorth(**(plain | changes))


def test_a_target_is_worth_over_what_the_platform_makes_of_a_person():
    value, guess, rate = np.ones((3, N_LINES)), np.ones(N_LINES), np.full(N_LINES, 0.1)
    value[:, 0], guess[1], rate[2] = 2.0, 4.0, 0.2
    found = line_worth(worth_usd=value, guess=guess, rate=rate).factors()
    assert found[[0, 1, 2]] / found[3] == pytest.approx([2.0, 0.25, 0.5])
    assert found[EMAIL_LINE] == 1.0


def test_factors_are_1_on_average_over_dollars_in_logs():
    rng = np.random.default_rng(0)
    spend = rng.uniform(0.0, 5.0, N_LINES)
    spend[EMAIL_LINE] = 0.0
    found = line_worth(worth_usd=rng.uniform(0.5, 2.0, (3, N_LINES)), spend_usd=spend)
    assert spend @ np.log(found.factors()) == pytest.approx(0.0, abs=1e-6)


def test_the_landing_page_is_the_one_on_which_a_line_is_worth_most():
    value = np.ones((3, N_LINES))
    value[2, 4] = 1.5
    found = line_worth(worth_usd=value)
    assert found.landing.tolist() == [2 if line == 4 else 0 for line in range(N_LINES)]
    assert found.factors()[4] / found.factors()[0] == pytest.approx(1.5)


def test_lines_that_nobody_meets_or_that_are_worth_nothing_keep_to_their_limits():
    value = np.ones((3, N_LINES))
    value[:, 0], value[:, 1] = 0.0, 1e-9
    found = line_worth(worth_usd=value, guess=np.where(np.arange(N_LINES) == 2, 0.0, 1.0)).factors()
    assert found[0] == found[2] == 1.0 and found[1] == pytest.approx(1 / LARGEST)
    with pytest.raises(BadInput, match="worth something on some line"):
        line_worth(worth_usd=np.zeros((3, N_LINES))).factors()


def test_worth_for_bids_is_of_a_click_or_of_a_thousand_impressions():
    found = line_worth(worth_usd=np.full((3, N_LINES), 20.0)).worth_in_bids_usd
    assert found[0] == 2.0 and found[8] == 2000.0
    assert (line_worth(worth_usd=np.full((3, N_LINES), -1.0)).worth_in_bids_usd == 0.0).all()


@pytest.mark.slow
def test_a_learning_curve_ends_where_training_does():
    found = train(FILE, tuned=TUNED, epochs=1, minutes=None, n_worlds=2, n_people=500, days=2, curve=True)
    curve = found["curve"]
    assert [row["worlds"] for row in curve] == [0, 1, 2]
    best = max(found["tried"], key=lambda tried: tried["objective_usd"])
    assert curve[-1]["objective_usd"] == pytest.approx(best["objective_usd"], abs=0.01)


def test_what_a_click_sells_under_a_target_over_one_by_hand_is_sales_over_worth():
    """Search by clicks, feeds by thousands of impressions: by hand, 40 x 2 + 3 x 10 = 110 USD of worth."""
    from types import SimpleNamespace

    report = np.zeros((2, N_LINES, len(REPORT_FIELDS)), np.int64)
    report[0, 0, CLICKS], report[0, 0, IMPRESSIONS] = 40, 999
    report[:, 8, IMPRESSIONS], report[:, 8, CLICKS] = 1_500, 77
    worth_usd = np.zeros((1, N_LINES))
    worth_usd[0, 0], worth_usd[0, 8] = 2.0, 0.010
    found = line_worth(worth_usd=worth_usd, n_auctions=np.ones(N_LINES))
    scores = SimpleNamespace(profit_usd=np.array([133.0]), spend_usd=np.array([32.0]))
    assert _per_worth(scores, SimpleNamespace(report=report), found) == pytest.approx(165.0 / 110.0)
    assert np.isnan(_per_worth(scores, SimpleNamespace(report=0 * report), found))


@pytest.fixture(scope="module")
def measured():
    return worth.together(worth.measure(FILE, tuned=TUNED, **SMALL))


@pytest.mark.slow
def test_own_brand_search_is_worth_little_of_what_the_platform_thinks(measured):
    """The published null of brand search: most of those who click would have come anyway."""
    factor = dict(zip(NAMES, measured.factors(), strict=True))
    own = max(factor[name] for name in NAMES if "own_brand" in name)
    others = [factor[name] for name in ("search_category_mobile", "social_new_mobile", "video_new_mobile")]
    assert own < 0.4 * min(others)


@pytest.mark.slow
def test_what_is_trained_earns_more_than_its_opposite_on_worlds_it_has_not_seen(measured):
    """The trained factors against their inverse, on other training worlds; how much, is the log's to say."""
    factors = dict(zip(NAMES, measured.factors(), strict=True))
    opposite = {name: 1.0 / factor for name, factor in factors.items()}
    practice = Practice(FILE, n_worlds=6, n_people=4_000, days=14, seed=77, tuned=TUNED)
    profit = {}
    for name, lines in (("trained", factors), ("opposite", opposite)):
        scores, _ = practice.try_out(lambda _, lines=lines: TUNED.value(lines), 1)
        profit[name] = float(scores.profit_usd[0])
    assert profit["trained"] > profit["opposite"]


@pytest.mark.slow
def test_training_is_repeatable_and_its_checkpoint_flies(tmp_path):
    tiny = {"epochs": 1, "minutes": None, "n_worlds": 1, "n_people": 1_000, "days": 2}
    done, rows = [], []
    found = train(FILE, tuned=TUNED, out=tmp_path, tick=done.append, track=rows.append, **tiny)
    again = train(FILE, tuned=TUNED, **tiny)
    assert found == again
    assert sum(done) == world_hours(1, 2)
    assert "picked" not in found or found["picked"] > 0.0
    policy = make_policy(str(tmp_path), FILE)()
    assert isinstance(policy, ValuePolicy)
    longer = train(FILE, tuned=TUNED, out=tmp_path, resume=True, **(tiny | {"epochs": 2}))
    assert longer == train(FILE, tuned=TUNED, **(tiny | {"epochs": 2}))
    assert longer["looks"]["n_worlds"] == 2 and longer["looks"]["guess"] != found["looks"]["guess"]
    for change, says in (({"epochs": 2}, "above the 2 already"), ({"seed": 1, "epochs": 3}, "`seed` was 1")):
        with pytest.raises(BadInput, match=says):
            train(FILE, tuned=TUNED, out=tmp_path, resume=True, **(tiny | change))
    assert policy.landing == found["landing"] and policy.line_multiplier == found["line_multiplier"]
    assert policy.spend_share == found["settings"]["spend_share"]
    best = max(found["tried"], key=lambda row: row["objective_usd"])
    assert found["settings"] == {"spend_share": best["spend_share"], "step": best["step"]}
    looked, tuned = rows
    assert (looked["epoch"], looked["worlds"], tuned["epoch"], tuned["worlds"]) == (1, 1, 1, 11)
    assert looked["spend_usd"] == pytest.approx(sum(found["looks"]["spend_usd"]), abs=1e-3)
    assert tuned["objective_usd"] == best["objective_usd"] and tuned["spend_share"] == best["spent"]
    assert (tuned["aimed_share"], tuned["step"]) == (best["spend_share"], best["step"])


@pytest.mark.slow
def test_a_run_that_was_stopped_while_its_level_was_tuned_only_tunes_it(tmp_path):
    tiny = {"epochs": 1, "minutes": None, "n_worlds": 1, "n_people": 1_000, "days": 2}

    def stop(said):
        if said.startswith("aim at"):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(FILE, tuned=TUNED, out=tmp_path, report=stop, **tiny)
    with pytest.raises(BadInput, match="above the 1 already done"):
        train(FILE, tuned=TUNED, out=tmp_path, resume=True, **(tiny | {"epochs": 0}))
    rows = []
    resumed = train(FILE, tuned=TUNED, out=tmp_path, resume=True, track=rows.append, **tiny)
    assert [(row["epoch"], row["worlds"]) for row in rows] == [(1, 10)]
    assert resumed == train(FILE, tuned=TUNED, **tiny)


@pytest.mark.parametrize(
    ("key", "table", "says"),
    [
        ("landing", {"social_new_mobile": 3}, "a whole number from 0 to 2"),
        ("landing", {"social_new_mobile": 0.5}, "a whole number from 0 to 2"),
        ("landing", {"social_new": 1}, "social_new"),
        ("settings", {"spend_share": 1.5}, "a number from 0 to 1"),
        ("settings", {"spend_sharee": 0.9}, "Did you mean 'spend_share'"),
        ("settings", [1], "must be a table of setting names"),
    ],
)
def test_a_checkpoint_that_says_something_impossible_is_refused(tmp_path, key, table, says):
    path = write_checkpoint(tmp_path / "c.json", FILE, {}, {key: table}, agent="value")
    with pytest.raises(BadInput, match=says):
        make_policy(str(path), FILE)
