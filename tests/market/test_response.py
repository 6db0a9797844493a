"""Response tables of a market file: checked, compiled, and what own ads are clicked by."""

from dataclasses import replace

import numpy as np
import pytest

from gaelp.core.errors import MarketFileError
from gaelp.market.file import Response, compile_rules, load
from gaelp.market.market import Market, World
from gaelp.market.parameters import AXES, MAX_SEGMENTS
from gaelp.market.truth import recover, rows

FEEDS, CREATIVES = 3, 3


def table(rng, *shape):
    return np.round(np.exp(rng.normal(0.0, 0.5, shape)), 3)


@pytest.fixture(scope="module")
def responding(market_file):
    rng = np.random.default_rng(3)
    n = len(market_file.segments)
    feed = Response(
        over=("creative", "audience", "segment", "stage", "feed"), value=table(rng, 3, 3, n, 6, 3)
    )
    search = Response(over=("query", "class"), value=table(rng, 4, 2))
    return replace(market_file, response={"feed": feed, "search": search})


@pytest.fixture(scope="module")
def lived(responding, usual_bids):
    market = Market([World(responding, 6)], n_people=4000, truth_rows=500_000)
    controls = usual_bids(market, 1.3)
    for _ in range(14 * 24):
        market.advance(controls)
    assert market.books.n_truth[0] < market.books.truth.shape[1]
    return market


def test_own_ads_in_feeds_are_clicked_by_parameters_times_the_table(lived, responding):
    value = {name: stated.value for name, stated in responding.parameters.items()}
    ads = rows(lived, "ad")
    ads = ads[ads["slot"] < 3]
    ours = ads["brand"] == 0
    odds = value["feed_click_odds"][ads["slot"]] * value["click_stage"][ads["stage"]]
    odds = odds * value["click_segment"][ads["segment"]] * value["click_class"][ads["line"] % 2]
    odds = odds * np.where(ads["x"][:, 3] > 0, value["engaged_click"], 1.0)
    quarter = np.floor(4.0 * ads["x"][:, 0] + 0.5) / 4.0
    tired = (quarter + 1.0) ** value["fatigue_exponent"] * value["creative_fit"][
        ads["segment"], ads["creative"]
    ]
    who = ads["x"][:, 3].astype(int)
    relative = responding.response["feed"].value[
        ads["creative"], who, ads["segment"], ads["stage"], ads["slot"]
    ]
    theirs = ads["x"][~ours, 1] / odds[~ours]
    np.testing.assert_allclose(theirs, value["rival_fatigue"], rtol=1e-9)  # rivals' ads have no table
    np.testing.assert_allclose(ads["x"][ours, 1], (odds * tired * relative)[ours], rtol=1e-6)
    assert ours.sum() > 10_000 and len(np.unique(relative[ours])) > 100


def test_own_ads_on_search_pages_are_clicked_by_parameters_times_the_table(lived, responding):
    value = {name: stated.value for name, stated in responding.parameters.items()}
    ads = rows(lived, "ad")
    ads = ads[ads["slot"] >= 3]
    query, device = ads["line"] // 2, ads["line"] % 2
    chance = value["position"][ads["slot"] - 3] * value["search_click"][query]
    chance = chance * value["click_segment"][ads["segment"]] * value["click_class"][device]
    relative = np.where(ads["brand"] == 0, responding.response["search"].value[query, device], 1.0)
    np.testing.assert_allclose(ads["x"][:, 3], chance * relative, rtol=1e-6)
    assert (ads["brand"] == 0).sum() > 300


def test_the_truth_log_gives_parameters_back_where_there_are_tables(lived):
    found = recover(lived)
    names = [name for name in found if name.startswith(("feed_click_odds", "search_click", "engaged"))]
    assert {"feed_click_odds.social", "search_click.generic", "engaged_click"} <= set(names)
    for name in names:
        assert abs(found[name].z) < 4.0, (name, found[name])


def test_a_market_without_tables_compiles_to_ones_and_is_not_asked(market_file):
    rules = compile_rules(market_file, 1)
    assert rules["responds"] == 0
    assert (rules["feed_response"] == 1).all() and (rules["search_response"] == 1).all()


def test_the_order_of_axes_makes_no_difference(market_file):
    value = table(np.random.default_rng(1), 3, 2, 6)
    over = ("creative", "class", "stage")
    one = replace(market_file, response={"feed": Response(over=over, value=value)})
    turned = Response(over=("stage", "creative", "class"), value=value.transpose(2, 0, 1))
    other = replace(market_file, response={"feed": turned})
    found = compile_rules(one, 1)["feed_response"]
    assert (found == compile_rules(other, 1)["feed_response"]).all()
    assert found.shape == (FEEDS, MAX_SEGMENTS, 6, 2, 3, CREATIVES)
    n = len(market_file.segments)
    assert found[1, n - 1, 4, 1, 2, 0] == np.float32(value[0, 1, 4])
    assert (found[:, n:] == 1).all()


RIGHT = """
[response.feed]
over = ["feed", "audience"]
value = { social = [1, 2, 3], video = { new = 1, engaged = 1.5, high_intent = 1 }, display = [1, 1, 1] }
"""


def written(tmp_path, market_path, text, name="own.toml"):
    path = tmp_path / name
    path.write_text(f'extends = "{market_path}"\n{text}')
    return path


def test_tables_are_read_by_the_names_of_their_axes(tmp_path, market_path):
    file = load(written(tmp_path, market_path, RIGHT))
    assert file.response["feed"].over == ("feed", "audience")
    assert file.response["feed"].value.tolist() == [[1, 2, 3], [1, 1.5, 1], [1, 1, 1]]
    assert compile_rules(file, 1)["feed_response"][0, 1, 2, 1, 2, 1] == 3


def test_a_file_states_its_tables_in_full_or_not_at_all(tmp_path, market_path):
    parent = written(tmp_path, market_path, RIGHT)
    heir = load(written(tmp_path, parent, "[market]\nname = 'heir'\n", "heir.toml"))
    assert heir.response["feed"].value[0, 2] == 3
    own = "[response.search]\nover = ['query']\nvalue = [1, 1, 1, 2]\n"
    assert list(load(written(tmp_path, parent, own, "third.toml")).response) == ["search"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[response.feeds]\nover = ['feed']\nvalue = [1, 1, 1]", "Did you mean 'feed'?"),
        ("[response]\nfeed = 3", "response.feed"),
        ("[response.feed]\nover = ['query']\nvalue = [1, 1, 1, 1]", "feed, segment, stage, class"),
        ("[response.feed]\nover = ['feed', 'feed']\nvalue = [[1, 1, 1], [1, 1, 1], [1, 1, 1]]", "each once"),
        ("[response.feed]\nover = []\nvalue = 1", "each once"),
        ("[response.feed]\nover = [1]\nvalue = 1", "each once"),
        ("[response.feed]\nover = 'feed'\nvalue = [1, 1, 1]", "each once"),
        ("[response.feed]\nover = ['feed']\nvalue = [1, 1]", "social, video, display"),
        ("[response.feed]\nover = ['feed']\nvalue = { social = 1, video = 1 }", "value.display"),
        ("[response.feed]\nover = ['feed']\nvalue = [1, 1, 100]", "from 0.05 to 20"),
        ("[response.feed]\nover = ['feed']\nvalue = [1, 1, nan]", "must be a number"),
        ("[response.feed]\nover = ['feed']\nvalue = [1, 1, 1]\nmodel = 3", "over, value"),
        ("[response.feed]\nover = ['feed']", "must be a table over social, video, display"),
    ],
)
def test_a_table_that_cannot_be_is_named_with_what_is_allowed(tmp_path, market_path, text, said):
    with pytest.raises(MarketFileError) as caught:
        load(written(tmp_path, market_path, text))
    assert said in str(caught.value) and "\n" not in str(caught.value)


def test_audiences_are_named_as_lines_name_them():
    from gaelp.core.words import Audience

    assert AXES["audience"] == tuple(audience.name.lower() for audience in Audience)
