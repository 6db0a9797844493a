"""The Lisa story: its arithmetic, its credits and its twin."""

import importlib.util
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from gaelp.core.errors import BadInput
from gaelp.core.words import TouchKind
from gaelp.market.market import Market
from gaelp.market.parameters import ACTIVITIES
from gaelp.market.scripted import Mail, Search, Telling
from gaelp.market.state import DECISION, empty_controls

EXAMPLE = Path(__file__).parents[2] / "examples" / "01_lisa.py"


@pytest.fixture(scope="module")
def lisa() -> ModuleType:
    spec = importlib.util.spec_from_file_location("lisa", EXAMPLE)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def told(lisa: ModuleType) -> dict[str, Any]:
    numbers: dict[str, Any] = lisa.tell()
    return numbers


@pytest.fixture(scope="module")
def telling(lisa: ModuleType) -> Telling:
    return Telling(lisa.load(lisa.MARKET), lisa.LISA, [scene for _, scene in lisa.STORY])


def test_the_story_has_seven_touchpoints_and_four_searches_and_costs_8_70(told: dict[str, Any]) -> None:
    assert told["spend_micros"] == 8_700_000
    assert len(told["touchpoints"]) == 7
    assert told["searches"] == 4
    assert sum(touch["cost_micros"] for touch in told["touchpoints"]) == told["spend_micros"]
    assert sum(scene["cost_micros"] for scene in told["scenes"]) == told["spend_micros"]


def test_the_brief_gets_99_30_from_shares_that_never_add_up_to_60_percent(told: dict[str, Any]) -> None:
    brief = told["brief"]
    assert brief["as_stated"] == {"ours": 0.6, "usd": 108.0, "reward_usd": 99.3}
    assert sum(brief["over_her_touches"]["credits"]) == pytest.approx(1.0, abs=1e-12)
    assert brief["over_her_touches"]["ours"] == pytest.approx(0.8)
    assert brief["over_her_touches"]["reward_usd"] == pytest.approx(135.3)
    assert all(abs(total - 0.6) > 0.05 for total in brief["sums_of_shares"])


def test_every_rule_gives_away_the_sale_once(told: dict[str, Any]) -> None:
    for name, rule in told["rules"].items():
        assert sum(rule["credits"]) == pytest.approx(1.0, abs=1e-12), name
        assert all(credit >= 0.0 for credit in rule["credits"]), name
        assert 0.0 <= rule["ours"] <= 1.0, name
        assert rule["reward_usd"] == pytest.approx(180.0 * rule["ours"] - 8.7, abs=1e-5), name


def test_rules_give_what_their_definitions_say(told: dict[str, Any]) -> None:
    ours = {name: rule["ours"] for name, rule in told["rules"].items()}
    days_before = [109 / 24, 92 / 24, 12 / 24, 12 / 24 - 1 / 144, 11 / 24, 0.0, 0.0]
    weights = [2.0 ** (-days / 7.0) for days in days_before]
    assert told["touchpoints"][told["rules"]["last click"]["credits"].index(1.0)]["what"] == "email click"
    assert told["touchpoints"][told["rules"]["first click"]["credits"].index(1.0)]["brand"] == "Qustodio"
    assert told["platform"]["line"] == "email"
    assert ours["last click"] == ours["platform report"] == 1.0
    assert ours["first click"] == 0.0
    assert ours["linear"] == pytest.approx(5 / 7)
    assert ours["time decay"] == pytest.approx(1.0 - (weights[0] + weights[3]) / sum(weights), abs=1e-12)
    assert ours["position-based"] == pytest.approx(0.4 + 4 * 0.2 / 5)
    assert ours["W-shaped"] == pytest.approx(0.6 + 3 * 0.1 / 4)


def test_the_twin_credits_our_ads_with_less_than_60_percent(told: dict[str, Any]) -> None:
    twin = told["twin"]
    assert 0.0 < twin["chance_without"] < twin["chance_with"] < 1.0
    assert 0.0 < twin["incremental"] < twin["share_of_sale"] < 0.6
    assert twin["share_of_sale"] < twin["handed_on"]["share_of_sale"] < 1.0
    assert twin["touches_lost"] == [2, 3, 5, 6, 7]


def test_a_touch_takes_with_it_what_it_made_possible(told: dict[str, Any]) -> None:
    one = told["twin"]["without_one"]
    assert {touch: numbers["touches_lost"] for touch, numbers in one.items()} == {
        2: [2, 6, 7],  # no visit, no address, no e-mail
        3: [3],
        5: [5],
        6: [6, 7],
        7: [7],
    }
    assert all(0.0 < numbers["share_of_sale"] < told["twin"]["share_of_sale"] for numbers in one.values())


def test_without_both_visits_there_is_no_cookie_and_no_retargeting(telling: Telling) -> None:
    visits = [touch for touch in telling.ours if touch.scene in (1, 3)]
    _, happened = telling.twin(visits)
    assert [touch.brand for touch in happened] == ["Qustodio", "Bark"]


def test_the_public_auction_repeats_what_the_market_did(telling: Telling) -> None:
    for i, lived in enumerate(telling.lived):
        if lived.ads:
            shown = [(o.slot, o.brand, o.price) for o in telling.auction(i) if o.slot >= 0]
            assert shown == list(lived.ads)
    for i in (0, 4):  # where the story says that our ad stood third
        assert [offer.slot for offer in telling.auction(i) if offer.brand == "Kinshield"] == [2]


def test_the_urgent_evening_moves_her_to_another_segment_and_back(telling: Telling) -> None:
    assert [lived.segment for lived in telling.lived] == ["concerned_parent"] * 2 + ["crisis_parent"] * 4 + [
        "concerned_parent"
    ]
    assert telling.lived[2].urgency == pytest.approx(telling.market.rules["urgency_spike"][0])
    assert telling.lived[2].goodwill[0] == pytest.approx(
        telling.lived[1].goodwill[0] * telling.market.rules["goodwill_keep"][0] ** 3
    )


@pytest.mark.statistical
def test_the_chances_are_those_of_the_markets_own_draws(telling: Telling) -> None:
    lisa, _ = telling.twin(())
    expected = telling.odds(lisa).mean
    crowd = Market(lisa.worlds, n_people=20_000)  # as many Lisas, each with tastes and draws of her own
    for many, one in zip(crowd.pop, lisa.pop, strict=True):
        many[:] = one
    crowd.pop.today[:] = 0xFFFFFF
    crowd.hour = lisa.hour
    crowd.rules["hour_rate"] = 0.0
    crowd.rules["hour_rate"][:, ACTIVITIES.index("direct")] = 1e9
    crowd.rules["goodwill_click"] = 0.0
    crowd.rules["buy_rate"] = 1e9
    crowd.books = crowd.books._replace(
        decisions=np.zeros((1, 2 * crowd.n_people), DECISION)
    )  # all buy at once
    crowd.advance(empty_controls(1, 1), adapt=False)
    sales = crowd.books.sales[0]
    assert sales.sum() > 17_000
    error = np.sqrt(expected * (1 - expected) / sales.sum())
    assert (np.abs(sales[:-1] / sales.sum() - expected) < 4 * error).all()


def test_the_same_script_tells_the_same_story(lisa: ModuleType, told: dict[str, Any]) -> None:
    assert lisa.tell() == told


def test_a_click_on_an_ad_that_does_not_win_is_refused(lisa: ModuleType) -> None:
    search = lisa.STORY[0][1]
    assert isinstance(search, Search)
    with pytest.raises(BadInput, match="must be possible"):
        Telling(lisa.load(lisa.MARKET), lisa.LISA, [replace(search, clicked="Bark")])


def test_a_mail_without_an_address_is_refused(lisa: ModuleType) -> None:
    with pytest.raises(BadInput, match="must be possible"):
        Telling(lisa.load(lisa.MARKET), lisa.LISA, [Mail(hour=9, cost_usd=0.002)])


def test_scenes_out_of_order_are_refused(lisa: ModuleType) -> None:
    scenes = [scene for _, scene in lisa.STORY]
    with pytest.raises(BadInput, match="must be at least 37"):
        Telling(lisa.load(lisa.MARKET), lisa.LISA, [scenes[1], scenes[0]])


def test_only_our_touches_can_be_left_out(telling: Telling) -> None:
    rivals = [touch for touch in telling.touches if touch not in telling.ours]
    assert [touch.kind for touch in rivals] == [TouchKind.CLICK] * 2
    with pytest.raises(BadInput, match="without"):
        telling.twin(rivals[:1])
