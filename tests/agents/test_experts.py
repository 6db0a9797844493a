"""`experts`: who flies, what it is told, what is logged, and what a bad expert can cost."""

from dataclasses import dataclass, replace

import numpy as np
import pytest

from gaelp.agents.bandit import ChoiceRule
from gaelp.agents.baselines import PacingPolicy
from gaelp.agents.experts import PICKED, ExpertsPolicy
from gaelp.agents.feedback import PidPolicy, TargetCpaPolicy
from gaelp.control.controls import propose
from gaelp.core.errors import BadInput
from gaelp.core.words import LINES, N_LINES, SOCIAL_LINE
from gaelp.evaluation.judge import judge
from gaelp.market.file import load
from gaelp.worlds.flight import fly, make_market, warm_up
from gaelp.worlds.registry import EXPERTS, click_delays, make_policy, policy_label, write_checkpoint
from gaelp.worlds.splits import split_worlds
from gaelp.worlds.tuned import tuned_for
from gaelp.worlds.warmed import warmed

from .test_policies import brief, view

FILE = load("markets/family_safety.toml")
IMPULSE = load("markets/impulse.toml")
WORTH = {LINES[0].name: 2.0}
BUDGET = 50.0


@dataclass
class Constant:
    """Bids the same on every line, and remembers when it was asked."""

    bid: float
    name: str = "constant"

    def start(self, brief):
        self.brief, self.asked = brief, []

    def act(self, view):
        self.asked.append((view.hour, float(view.spend_usd.sum())))
        return propose(np.full((1, N_LINES), self.bid), self.brief.daily_budget_usd)


def constants(*bids):
    return {str(bid): (lambda bid=bid: Constant(bid)) for bid in bids}


def serve(policy, earns, days, *, seeds=(11, 12, 13), noise=0.1):
    """Serve an account where an expert that bids b earns earns[b] dollars of worth a day, and spends it all.

    A bid of 0 buys nothing. Returns what was bid: (days x 24, n_worlds).
    """
    n = len(seeds)
    policy.start(
        replace(
            brief(),
            n_worlds=n,
            world_seeds=np.array(seeds),
            daily_budget_usd=np.full(n, BUDGET),
            traffic=np.ones((n, 168)),
        )
    )
    bids, last = [], np.zeros(n)
    for hour in range(24 * days):
        seen = view(hour, n)
        spend, clicks = np.zeros((n, N_LINES)), np.zeros((n, N_LINES))
        for world, bid in enumerate(last.tolist()):
            draw = np.random.default_rng((seeds[world], hour)).standard_normal()
            spend[world, 0] = BUDGET / 24 * (bid > 0)
            clicks[world, 0] = (earns[bid] / 24 + noise * BUDGET / 24**0.5 * draw * (bid > 0)) / WORTH[
                LINES[0].name
            ]
        last = policy.act(replace(seen, spend_usd=spend, cost_usd=spend, clicks=clicks)).bid_usd[:, 0]
        bids.append(last)
    return np.array(bids)


def flown(policy, n_worlds=3, days=6, skip=0):
    worlds = split_worlds(FILE, "train", n_worlds + skip)[skip:]
    snapshot, traffic = warmed(worlds, 500)
    return fly(snapshot.copy(), policy, days=days, traffic=traffic)


@pytest.fixture(scope="module")
def value():
    return make_policy("value", FILE)


def test_alone_an_expert_flies_as_it_would_without(value):
    """Bit for bit in one world; beside others NumPy adds up their spend in another order."""
    for n_worlds, exactly in ((1, 0.0), (2, 1e-12)):
        alone, chosen = (
            flown(make(), n_worlds, days=4) for make in (value, make_policy("experts:value", FILE))
        )
        for mine, its in zip(alone.approved, chosen.approved, strict=True):
            for name, array in vars(mine).items():
                np.testing.assert_allclose(array, getattr(its, name), rtol=exactly)
        np.testing.assert_array_equal(alone.spend_micros, chosen.spend_micros)


def test_worlds_flown_together_fly_as_they_do_alone():
    together, alone = make_policy("experts", FILE)(), make_policy("experts", FILE)()
    both = flown(together, 3, days=6)
    last = flown(alone, 1, days=6, skip=2)
    np.testing.assert_array_equal(together.choices[:, 2], alone.choices[:, 0])
    np.testing.assert_array_equal(together.propensity[:, 2], alone.propensity[:, 0])
    np.testing.assert_array_equal(both.spend_micros[2], last.spend_micros[0])
    np.testing.assert_array_equal(together.score_usd[:, 2], alone.score_usd[:, 0])
    assert (together.choices > 0).any()


def test_who_flies_changes_at_midnight_only_and_only_between_periods():
    for every_days in (1, 3):
        policy = ExpertsPolicy(constants(1.0, 2.0, 3.0), WORTH, every_days=every_days)
        bids = serve(policy, {0.0: 0.0, 1.0: 90.0, 2.0: 90.0, 3.0: 90.0}, 12)
        turns = np.flatnonzero((bids[1:] != bids[:-1]).any(axis=1)) + 1
        assert turns.size and (turns % (24 * every_days) == 0).all()
        assert policy.choices.shape == policy.propensity.shape == (*policy.score_usd.shape[:1], 3)
        assert policy.choices.shape == (12 // every_days, 3)
        np.testing.assert_array_equal(bids[:: 24 * every_days], policy.choices + 1.0)


def test_who_does_not_fly_is_not_asked_and_comes_back_as_it_left():
    """A pacer sees only hours that it flew; its first one back is what it proposed when it left."""
    policy = ExpertsPolicy(constants(1.0, 2.0), WORTH)
    serve(policy, {0.0: 0.0, 1.0: 90.0, 2.0: 60.0}, 10, seeds=(11,))
    flying = np.repeat(policy.choices[:, 0], 24)
    for expert, one in enumerate(policy._teams[0]):
        asked = np.array([hour for hour, _ in one.asked])
        # asked at the start of an hour about the one before, which was its own
        np.testing.assert_array_equal(asked[1:], np.flatnonzero(flying[:-1] == expert) + 1)


def test_a_pacer_keeps_its_level_while_another_spends_nothing():
    """Beside a saboteur that bids nothing a pacer would wind up to its highest bid; it does not."""
    settings = {"silent": constants(0.0)["0.0"], "pacing": PacingPolicy}
    policy = ExpertsPolicy(settings, WORTH, rule=ChoiceRule(sure=50.0, chance=0.2))
    policy.start(brief())
    first = None
    for hour in range(24 * 20):
        proposed = policy.act(view(hour)).bid_usd[:, 0]
        back = (hour % 24 == 0) & (policy.choices[-1] == 1)
        if hour % 24 == 0 and back.any() and first is None:
            first = proposed[back].max()
    assert first is not None and first == pytest.approx(brief().reference_price_usd[0])


@pytest.mark.parametrize("saboteur", [{"bid": 0.0, "earns": 0.0}, {"bid": 10.0, "earns": 15.0}])
def test_a_sabotaged_expert_is_out_in_two_weeks_and_costs_no_more_than_its_share(saboteur):
    """A default that earns $100 of $50; one that buys nothing, and one that pays ten times too much."""
    seeds = tuple(range(16))
    policy = ExpertsPolicy(constants(1.0, saboteur["bid"]), WORTH)
    earns = {0.0: 0.0, 1.0: 100.0, saboteur["bid"]: saboteur["earns"]}
    bids = serve(policy, earns, 30, seeds=seeds)
    days = (bids[::24] == saboteur["bid"]).sum(axis=0)
    rule = policy.rule
    most = rule.explore * (np.arange(1, 31)[:, None] + rule.lead * (1 + policy._chooser.alarms))
    assert (np.cumsum(bids[::24] == saboteur["bid"], axis=0) <= most).all(), "at most its share of days"
    assert (days * BUDGET <= most[-1] * BUDGET).all(), "so at most that share of the money"
    assert policy.de_selected[:, 1].mean() > 0.9
    assert (bids[24 * 14 :: 24] == saboteur["bid"]).mean() < 0.02
    assert days.mean() < 4.0


def test_a_sabotaged_default_is_left():
    seeds = tuple(range(16))
    policy = ExpertsPolicy(constants(10.0, 1.0, 2.0), WORTH)
    bids = serve(policy, {0.0: 0.0, 1.0: 100.0, 2.0: 90.0, 10.0: 15.0}, 30, seeds=seeds)
    assert policy.de_selected[:, 0].mean() > 0.9
    assert (bids[24 * 14 :: 24] == 10.0).mean() < 0.05


def test_news_is_booked_to_the_period_in_which_it_happened():
    """Social impressions are six hours late: the last of a day are told on the next."""
    late = np.where(np.arange(N_LINES) >= SOCIAL_LINE, 6, 0)
    worth = {LINES[SOCIAL_LINE].name: 10.0}
    policy = ExpertsPolicy(constants(1.0), worth, late, picked=3.0)
    policy.start(brief())
    for hour in range(49):
        happened, told = hour - 1, hour - 7
        spend, cost, shown = (np.zeros((3, N_LINES)) for _ in range(3))
        spend[:, SOCIAL_LINE] = 1.0 * (0 <= happened < 24)
        cost[:, SOCIAL_LINE] = 1.0 * (0 <= told < 24)
        shown[:, SOCIAL_LINE] = 500.0 * (0 <= told < 24)
        target = np.full((3, N_LINES), 20.0 * (happened < 12))  # by target in the morning, then by hand
        policy.act(
            replace(view(hour), spend_usd=spend, cost_usd=cost, impressions=shown, target_cpa_usd=target)
        )
    morning, evening = 12 * 0.5 * 10.0 * 3.0, 12 * 0.5 * 10.0
    np.testing.assert_allclose(policy.score_usd[:, 0], [morning + evening - 24.0, 0.0])


def test_what_is_not_shown_yet_is_taken_in_proportion_to_spend():
    late = np.full(N_LINES, 6)
    policy = ExpertsPolicy(constants(1.0), WORTH, late)
    policy.start(brief())
    for hour in range(25):
        spend, shown = np.zeros((3, N_LINES)), np.zeros((3, N_LINES))
        spend[:, 0], shown[:, 0] = 1.0 * (hour >= 1), 2.0 * (hour >= 7)
        policy.act(replace(view(hour), spend_usd=spend, cost_usd=spend * (hour >= 7), clicks=shown))
    np.testing.assert_allclose(policy.score_usd[0], 24 * 2.0 * 2.0 - 24.0)


def test_attributed_scores_are_reported_value_less_spend():
    policy = ExpertsPolicy(constants(1.0), score="attributed")
    policy.start(brief())
    for hour in range(25):
        sold = np.zeros((3, N_LINES))
        sold[:, 3] = 1.0 * (hour == 5)
        policy.act(replace(view(hour, spend=2.1), conversions=sold))
    np.testing.assert_allclose(policy.score_usd[0], brief().ltv_usd - 24 * 2.1)


def test_propensities_are_those_of_the_draws():
    """First-period choices of 2,000 accounts: the default half the time, a quarter each of the others."""
    n = 2_000
    policy = ExpertsPolicy(constants(1.0, 2.0, 3.0), WORTH)
    policy.start(
        replace(
            brief(),
            n_worlds=n,
            world_seeds=np.arange(n),
            daily_budget_usd=np.full(n, BUDGET),
            traffic=np.ones((n, 168)),
        )
    )
    policy.act(view(0, n))
    share = np.bincount(policy.choices[0], minlength=3) / n
    chance = np.array([0.5, 0.25, 0.25])
    assert (np.abs(share - chance) < 4 * np.sqrt(chance * (1 - chance) / n)).all()
    np.testing.assert_array_equal(policy.propensity[0], chance[policy.choices[0]])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"score": "clicks"}, "clicks"),
        ({"experts": {}}, "at least one"),
        ({"every_days": 0}, "at least 1"),
        ({"worth_usd": {}}, "worth_usd"),
    ],
)
def test_an_impossible_choice_is_refused(options, message):
    with pytest.raises(BadInput, match=message):
        ExpertsPolicy(**{"experts": constants(1.0, 2.0), "worth_usd": WORTH, **options})


def test_it_must_see_a_brief():
    with pytest.raises(BadInput, match="must see a brief"):
        ExpertsPolicy(constants(1.0)).act(view())


def test_by_name_it_chooses_among_the_registered_experts(tmp_path):
    policy = make_policy("experts", FILE)()
    assert isinstance(policy, ExpertsPolicy) and tuple(policy.experts) == EXPERTS
    assert policy.worth_usd["social_new_mobile"] > 10.0
    assert (policy.late_hours == click_delays(FILE)).all() and policy.late_hours.max() == 6
    path = write_checkpoint(tmp_path / "mine.json", FILE, {"social_new_mobile": 1.5}, agent="value")
    name = f"experts:{path},pid"
    chosen = make_policy(name, FILE)()
    made = [make() for make in chosen.experts.values()]
    assert made[0].line_multiplier == {"social_new_mobile": 1.5} and isinstance(made[1], PidPolicy)
    assert policy_label(name) == name
    assert isinstance([make() for make in policy.experts.values()][1], TargetCpaPolicy)
    assert made[0].target_usd == tuned_for(FILE).target_cpa_usd


@pytest.mark.parametrize("name", ["experts:", "experts:value,value", "experts:experts", "experts:value,"])
def test_experts_are_policies_named_once(name):
    with pytest.raises(BadInput, match="each once"):
        make_policy(name, FILE)


def test_an_unknown_expert_is_refused_by_name():
    with pytest.raises(BadInput, match="pacin"):
        make_policy("experts:value,pacin", FILE)


def value_of(tmp_path, name="mine", file=IMPULSE, **learnt):
    worth = {"worth_usd": {"social_new_mobile": 20.0, "search_generic_mobile": 3.0}}
    return write_checkpoint(tmp_path / f"{name}.json", file, {}, worth | learnt, agent="value")


def test_worth_and_how_well_the_platform_picks_come_from_the_first_value_that_knows(tmp_path):
    """The reference market's own number stays what its committed evaluations flew with."""
    assert make_policy("experts", FILE)().picked == PICKED
    old = value_of(tmp_path, "old", FILE)
    chosen = make_policy(f"experts:pacing,{old}", FILE)()
    assert chosen.picked == PICKED and chosen.worth_usd == {
        "social_new_mobile": 20.0,
        "search_generic_mobile": 3.0,
    }
    first = value_of(tmp_path, "first", FILE, picked=1.7)
    assert make_policy(f"experts:pacing,{first},{old}", FILE)().picked == 1.7
    plain = write_checkpoint(tmp_path / "plain.json", FILE, {}, agent="value")  # knows no worth
    assert make_policy(f"experts:{plain},pacing", FILE)().picked == PICKED


def test_on_another_market_experts_go_by_its_own_value(tmp_path):
    mine = value_of(tmp_path, picked=3.1)
    policy = make_policy(f"experts:{mine},target_cpa,pacing", IMPULSE)()
    assert policy.picked == 3.1 and policy.worth_usd["social_new_mobile"] == 20.0
    market = make_market(split_worlds(IMPULSE, "train", 2), 200)
    flight = fly(market, policy, days=2, traffic=warm_up(market), tuned=tuned_for(IMPULSE))
    assert flight.spend_micros.sum() > 0 and (policy.propensity > 0.0).all()


def test_a_market_without_what_experts_go_by_is_refused_with_what_to_do(tmp_path):
    train = "gaelp train --agent value --market impulse --out runs/value"
    for name in ("experts", "experts:pacing,target_cpa"):
        with pytest.raises(BadInput, match=f"must have a checkpoint of value.*{train}.*experts:runs/value,"):
            make_policy(name, IMPULSE)
    old = value_of(tmp_path)
    assert make_policy(str(old), IMPULSE)().worth_usd["social_new_mobile"] == 20.0  # it still flies alone
    with pytest.raises(BadInput, match=f"picked.*{train}"):
        make_policy(f"experts:{old},pacing", IMPULSE)


@pytest.mark.parametrize("picked", [-1.0, "2", float("nan"), 1e9])
def test_an_impossible_number_is_refused(tmp_path, picked):
    with pytest.raises(BadInput, match="picked"):
        make_policy(str(value_of(tmp_path, picked=picked)), IMPULSE)


@pytest.mark.study
def test_scores_of_sixteen_training_worlds():
    """What a score says of an expert beside what it really earns; `PICKED` is measured here.

    Prints, in budgets a day: profit by expected sales, mean score, and the noise of a day's score.
    """
    served = {}

    def serving(name, score):
        def made():
            worth = make_policy("experts", FILE)().worth_usd
            policy = ExpertsPolicy(
                {name: make_policy(name, FILE)}, worth, click_delays(FILE), picked=1.0, score=score
            )
            served[name, score] = policy
            return policy

        return made

    each = [(name, score) for score in ("worth", "attributed") for name in EXPERTS]
    makers = {f"{name} {score}": serving(name, score) for name, score in each}
    judged = judge(split_worlds(FILE, "train", 16), makers, n_people=4_000, days=30, runoff_days=20)
    budget = FILE.budget_per_person_usd * 4_000
    per_worth, noise = {}, {}
    for name, score in each:
        sums = judged.results[f"{name} {score}"]
        gained = sums["incremental_expected_value_usd"].mean() / 30 / budget
        spent = sums["spend_usd"].mean() / 30 / budget
        days = served[name, score].score_usd[:30] / budget
        noise[name, score] = np.sqrt(0.5 * (np.diff(days, axis=0) ** 2).mean())
        per_worth[name, score] = gained / (days.mean() + spent)
        print(f"{name:10} {score:10} {gained - spent:6.2f} {days.mean():6.2f} {noise[name, score]:6.2f}")
    by_hand = per_worth["pacing", "worth"]
    picked = {name: per_worth[name, "worth"] / by_hand for name in ("value", "target_cpa")}
    print({name: round(float(ratio), 2) for name, ratio in picked.items()})
    assert all(abs(ratio / PICKED - 1.0) < 0.15 for ratio in picked.values())
    assert all(noise[name, "attributed"] > 20 * noise[name, "worth"] for name in EXPERTS)


@pytest.mark.study
def test_worth_tells_experts_apart_and_attributed_value_does_not():
    """The default is `value` with its factors turned round; prints profit in USD a world, and who stayed."""
    tuned, names = tuned_for(FILE), ("bad", "target_cpa", "pacing")
    good = make_policy("value", FILE)()
    bad = {line: factor**-2 for line, factor in good.line_multiplier.items()}
    level = {"step": good.settings.step, "spend_share": good.spend_share}
    makers = {name: make_policy(name, FILE) for name in names[1:]}
    experts = {"bad": lambda: tuned.value(bad, good.landing, level, good.worth_usd), **makers}
    served = {}

    def serving(score):
        def made():
            rule = ChoiceRule() if score == "worth" else ChoiceRule(noise=8.0)
            served[score] = ExpertsPolicy(experts, good.worth_usd, click_delays(FILE), score=score, rule=rule)
            return served[score]

        return made

    flyers = {**experts, "worth": serving("worth"), "attributed": serving("attributed")}
    judged = judge(split_worlds(FILE, "train", 16), flyers, n_people=4_000, days=30, runoff_days=20)
    for name, sums in judged.results.items():
        profit = sums["incremental_expected_value_usd"] - sums["spend_usd"]
        print(f"{name:10} {profit.mean():6.0f} {profit.std() / 4:5.0f}")
    stayed = {}
    for score, policy in served.items():
        stayed[score] = (policy.choices[-10:] == 0).mean()
        print(score, [round(float((policy.choices[-10:] == k).mean()), 2) for k in range(3)])
    assert stayed["worth"] < 0.5 < stayed["attributed"]
