"""What lines are worth, the policy that is trained on it, and that it earns more than it must."""

import numpy as np
import pytest

from gaelp.agents.value import ValuePolicy
from gaelp.core.errors import BadInput
from gaelp.core.words import EMAIL_LINE, LINES, N_LINES
from gaelp.learning import worth
from gaelp.learning.practice import Practice
from gaelp.learning.value import train, world_hours
from gaelp.learning.worth import LARGEST, LineWorth
from gaelp.market.file import load
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


@pytest.fixture(scope="module")
def measured():
    return worth.measure(FILE, tuned=TUNED, **SMALL)


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
    done = []
    found = train(FILE, tuned=TUNED, out=tmp_path, tick=done.append, **tiny)
    again = train(FILE, tuned=TUNED, **tiny)
    assert found == again
    assert sum(done) == world_hours(1, 2)
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
