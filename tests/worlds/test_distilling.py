"""Click logs and the distillation of response models, against a teacher whose every chance is known."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gaelp.core.errors import BadInput, UnknownName
from gaelp.data.tables import read_coded
from gaelp.market.file import RESPONSE_RANGE, MarketFile, Response, compile_rules, load
from gaelp.market.market import World
from gaelp.market.parameters import AXES, QUERIES, STAGES
from gaelp.market.state import CLICKS, IMPRESSIONS
from gaelp.prediction.calibration import fit_calibration
from gaelp.prediction.delay import DelayBuckets
from gaelp.prediction.examples import Columns, Examples
from gaelp.prediction.model import ResponseModel
from gaelp.worlds import distilling, taught
from gaelp.worlds.click_log import CLICKED, FEATURES, ClickLog, click_table, truth_rows
from gaelp.worlds.distilling import distil
from gaelp.worlds.flight import fly, make_market, warm_up
from gaelp.worlds.ga4_export import status_quo
from gaelp.worlds.market_writing import write_market
from gaelp.worlds.regions import write_columns
from gaelp.worlds.splits import plain_worlds
from gaelp.worlds.taught import CHANNELS, Ads, expected_clicks, read_ads

FILE = Path(__file__).parents[2] / "markets" / "family_safety.toml"
CATEGORIES = tuple(name for name in FEATURES if name not in ("views", "slot"))
ALL = Columns(label=CLICKED, numeric=("views", "slot"), categorical=CATEGORIES)
NO_MAP = fit_calibration("none", np.array([True, False]), np.array([0.5, 0.5]))


@dataclass(frozen=True)
class Oracle:
    """A scorer that answers as a market file says; what its columns lack is as in `usual`."""

    file: MarketFile
    usual: dict[str, str]
    kind = "oracle"

    def raw(self, examples: Examples) -> np.ndarray:
        value = {name: stated.value for name, stated in self.file.parameters.items()}
        n = len(examples)
        cells: dict[str, Any] = {name: np.full(n, word) for name, word in self.usual.items()}
        cells |= {c.name: np.array(c.words)[c.codes] for c in examples.categorical}
        cells |= dict(zip(examples.columns.numeric, examples.numeric.T, strict=True))
        words = {"channel": CHANNELS, "device": AXES["class"], "audience": AXES["audience"], "stage": STAGES}
        words |= {"creative": AXES["creative"], "query": QUERIES, "segment": self.file.segments}
        at = {
            name: np.array([known.index(word) if word in known else 0 for word in cells[name]])
            for name, known in words.items()
        }
        quarter = np.floor(np.nan_to_num(cells["views"].astype(float)) * 4 + 0.5) / 4
        feed = np.minimum(at["channel"], 2)
        odds = value["feed_click_odds"][feed] * value["click_stage"][at["stage"]]
        odds = odds * np.where(at["audience"] > 0, value["engaged_click"], 1.0)
        odds = odds * value["creative_fit"][at["segment"], at["creative"]]
        odds = odds * (1.0 + quarter) ** float(value["fatigue_exponent"])
        slot = np.nan_to_num(cells["slot"].astype(float), nan=1.0).astype(int) - 1
        chance = value["search_click"][at["query"]] * value["position"][slot]
        alike = value["click_segment"][at["segment"]] * value["click_class"][at["device"]]
        odds, chance = odds * alike, chance * alike
        if "feed" in self.file.response:
            table = self.file.response["feed"].over_all("feed")
            place = (feed, at["segment"], at["stage"], at["device"], at["audience"], at["creative"])
            clamped = [np.minimum(a, size - 1) for a, size in zip(place, table.shape, strict=True)]
            odds = odds * table[tuple(clamped)]
        return np.where(at["channel"] == 3, np.minimum(chance, 0.95), odds / (1 + odds))

    def files(self) -> dict[str, bytes]:
        return {}


def teacher(file: MarketFile, columns: Columns = ALL, **usual: str) -> ResponseModel:
    """One that remembers many clicks of every word."""
    words = {"channel": CHANNELS, "device": AXES["class"], "audience": AXES["audience"], "stage": STAGES}
    words |= {"creative": AXES["creative"], "query": QUERIES, "segment": file.segments}
    seen = {name: dict.fromkeys(each, 1000) for name, each in words.items()}
    scorer = Oracle(file, {"views": "0", "slot": "1", **usual})
    return ResponseModel(columns, scorer, NO_MAP, manifest={"labels_by_word": seen})


@pytest.fixture(scope="module")
def base() -> MarketFile:
    return load(FILE)


@pytest.fixture(scope="module")
def other(base: MarketFile) -> MarketFile:
    """The base with other people: every click parameter is another."""
    was = {name: stated.value for name, stated in base.parameters.items()}
    return base.with_values(
        {
            "feed_click_odds": was["feed_click_odds"] * [0.7, 1.5, 3.0],
            "search_click": was["search_click"] * [1.3, 0.8, 1.0, 1.2],
            "position": np.array([1.0, 0.7, 0.5, 0.3]),
            "click_stage": was["click_stage"] * [1.0, 1.2, 0.7, 1.4, 1.0, 1.0],
            "click_segment": np.array([0.8, 1.4, 1.0, 0.9]),
            "click_class": np.array([0.9, 1.2]),
            "creative_fit": was["creative_fit"][:, [1, 0, 2]],
            "engaged_click": 1.5,
            "fatigue_exponent": -0.8,
        }
    )


@pytest.fixture(scope="module")
def columns(base: MarketFile) -> dict[str, np.ndarray]:
    return click_table(
        plain_worlds(base, 1, 0)[0], status_quo(base), n_people=10_000, days=10, warm_up_days=7
    )


@pytest.fixture(scope="module")
def table(columns: dict[str, np.ndarray], tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("clicks") / "clicks.parquet"
    write_columns(path, columns)
    return path


# the click log


def test_a_click_log_tells_every_ad_that_was_seen(base: MarketFile) -> None:
    """Against the report, which the platforms would give: clicks are the same, searches' impressions too."""
    market = make_market([World(base, 1)], 3000, truth_rows=truth_rows(3000))
    log = ClickLog(market)
    traffic = warm_up(market, 3, log)
    log.open()
    flight = fly(market, status_quo(base), days=5, traffic=traffic, tick=log, keep_bids=False)
    found, report = log.columns(), flight.report[0]
    searched = found["channel"] == "search"
    clicked = found[CLICKED] == 1
    assert clicked[searched].sum() == report[:8, CLICKS].sum()
    assert clicked[~searched].sum() == report[8:-1, CLICKS].sum()  # all but e-mail
    assert searched.sum() == report[:8, IMPRESSIONS].sum()
    assert 0 < (~searched).sum() <= report[8:-1, IMPRESSIONS].sum()  # an ad that nobody looks at is none
    assert found["hour"].min() >= 0 and found["hour"].max() < 5 * 24
    assert (np.diff(found["hour"]) >= 0).all()


def test_text_and_parquet_say_the_same(columns: dict[str, np.ndarray], table: Path) -> None:
    text = table.with_name("clicks.csv")
    write_columns(text, columns)
    one, other = read_coded(text), read_coded(table)
    assert list(one) == list(other) == [CLICKED, "hour", *FEATURES]
    for name in ("views", "slot"):
        np.testing.assert_array_equal(one[name].numbers(), other[name].numbers())
    for name in CATEGORIES:
        assert (
            np.array(one[name].words)[one[name].codes] == np.array(other[name].words)[other[name].codes]
        ).all()
    searched = columns["channel"] == "search"
    assert (columns["query"][~searched] == "").all() and (columns["creative"][searched] == "").all()
    assert columns["slot"].mask.tolist() == (~searched).tolist()


def test_a_log_that_runs_full_is_an_error_and_no_shorter_table(base: MarketFile) -> None:
    market = make_market([World(base, 1)], 3000, truth_rows=50)
    with pytest.raises(BadInput, match="fewer than 50 rows a day"):
        warm_up(market, 1, ClickLog(market))


# distillation


def test_a_teacher_in_the_markets_own_form_is_given_back(
    base: MarketFile, other: MarketFile, table: Path
) -> None:
    found = distil(read_ads(table, teacher(other), base), base)
    told = found.figures["parameters"]
    assert set(found.names) == {
        "feed_click_odds", "search_click", "position", "click_stage", "click_segment", "click_class",
        "creative_fit", "engaged_click", "fatigue_exponent",
    }  # fmt: skip
    ads = read_ads(table, teacher(other), base)
    for name in ("position", "engaged_click", "fatigue_exponent"):
        mine, theirs = found.file.parameters[name].value, other.parameters[name].value
        told_of = np.isin(np.arange(mine.size), ads.at["slot"]) if name == "position" else slice(None)
        np.testing.assert_allclose(np.atleast_1d(mine)[told_of], np.atleast_1d(theirs)[told_of], rtol=0.02)
    for name in ("click_stage", "click_segment", "click_class"):
        mine, theirs = found.file.parameters[name].value, other.parameters[name].value
        ratio = (mine / theirs)[np.array([key in told[name] for key in _names(base, name)])]
        np.testing.assert_allclose(ratio / ratio.mean(), 1.0, rtol=0.05)  # the scale belongs to the level
    assert found.figures["fit"]["parameters"]["r2"] > 0.999
    assert found.figures["fit"]["market"]["misplaced"] < 0.001
    assert found.figures["fit"]["base"]["r2"] < 0.9
    for kind, response in found.file.response.items():
        many = _clicks_by_cell(ads, kind, response) > 5.0
        np.testing.assert_allclose(response.value[many], 1.0, rtol=0.05)


def _names(file: MarketFile, name: str) -> tuple[str, ...]:
    return {"click_stage": STAGES, "click_segment": file.segments, "click_class": AXES["class"]}[name]


def _clicks_by_cell(ads: Ads, kind: str, response: Response) -> np.ndarray:
    rows = ads.searched if kind == "search" else ~ads.searched
    column = {"feed": "channel", "class": "device"}
    found = np.zeros(response.value.shape)
    np.add.at(found, tuple(ads.at[column.get(axis, axis)][rows] for axis in response.over), ads.taught[rows])
    return found


def test_what_sums_cannot_say_is_in_the_tables(base: MarketFile, table: Path) -> None:
    value = np.ones((3, 3))
    value[0, 0], value[1, 2], value[2, 1] = 1.6, 0.5, 2.0
    crossed = replace(base, response={"feed": Response(over=("feed", "creative"), value=value)})
    found = distil(read_ads(table, teacher(crossed), base), base)
    fit = found.figures["fit"]
    assert fit["base"]["r2"] < fit["parameters"]["r2"] < fit["market"]["r2"]
    assert fit["market"]["r2"] > 0.9999 and fit["market"]["misplaced"] < 1e-3
    ads = read_ads(table, teacher(crossed), base)
    many = _clicks_by_cell(ads, "feed", found.file.response["feed"]) > 0
    rules, truth = compile_rules(found.file, 1), compile_rules(crossed, 1)
    mine, theirs = (
        r["feed_click_odds"][:, None, None, None, None, None]
        * r["click_segment"][None, :, None, None, None, None]
        * r["click_stage"][None, None, :, None, None, None]
        * r["click_class"][None, None, None, :, None, None]
        * np.array([1.0, r["engaged_click"], r["engaged_click"]])[None, None, None, None, :, None]
        * r["creative_fit"][None, :, None, None, None, :]
        * r["feed_response"]
        for r in (rules, truth)
    )
    n = len(base.segments)
    np.testing.assert_allclose(mine[:, :n][many], theirs[:, :n][many], rtol=0.01)


def test_what_a_model_does_not_read_stays_and_its_cells_are_met(
    base: MarketFile, other: MarketFile, table: Path
) -> None:
    """A log from a real account knows neither stage nor segment."""
    visible = Columns(label=CLICKED, numeric=("views",), categorical=("channel", "device", "creative"))
    usual = {"audience": "new", "query": "generic", "stage": "aware", "segment": base.segments[1]}
    model = teacher(other, visible, **usual)
    ads = read_ads(table, model, base)
    found = distil(ads, base)
    for name in ("click_stage", "click_segment", "engaged_click", "position"):
        assert (found.file.parameters[name].value == base.parameters[name].value).all()
    assert found.file.response["feed"].over == ("feed", "class", "creative")
    assert found.file.response["search"].over == ("class",)
    fitted = found.file.parameters["creative_fit"].value / base.parameters["creative_fit"].value
    assert np.ptp(fitted, axis=0).max() < 1e-6  # one change for all segments
    for channel, row in found.figures["channels"].items():
        assert row["market"] == pytest.approx(row["model"], rel=1e-3), channel
    assert found.figures["fit"]["market"]["misplaced"] < 0.02


@pytest.mark.parametrize("kind", ["xgboost", "logistic"])
def test_a_model_of_one_channel_leaves_the_others_alone(
    base: MarketFile, table: Path, tmp_path: Path, kind: str
) -> None:
    from gaelp.prediction.examples import examples_of, read_table
    from gaelp.prediction.training import Recipe, train

    rows = read_coded(table)
    social = rows["channel"].codes == rows["channel"].words.index("social")
    path = tmp_path / "social.csv"
    names = [CLICKED, "channel", "creative", "device"]
    lines = zip(*(np.array(rows[name].words)[rows[name].codes[social]] for name in names), strict=True)
    path.write_text("\n".join([",".join(names), *(",".join(line) for line in lines)]) + "\n")
    columns, cells = read_table(path, label=CLICKED, categorical=names[1:])
    model = train(replace(examples_of(columns, cells), columns=columns), Recipe(kind=kind))
    ads = read_ads(table, model, base)
    assert set(ads.about["left_out"]) == {"channel: display", "channel: video", "channel: search"}
    assert ads.n[ads.known].sum() == social.sum()
    found = distil(ads, base)
    feed = found.file.parameters["feed_click_odds"].value
    assert feed[0] != base.parameters["feed_click_odds"].value[0]
    assert (feed[1:] == base.parameters["feed_click_odds"].value[1:]).all()
    assert list(found.file.response) == ["feed"]
    for channel, row in found.figures["channels"].items():
        assert row["market"] == pytest.approx(row["model"], rel=1e-3)
        assert (row["market"] == pytest.approx(row["base"], rel=0.005)) == (channel != "social"), channel


def test_a_model_that_says_what_the_base_says_changes_nothing(base: MarketFile, table: Path) -> None:
    """Also one that knows only what an account sees: rivals, who follow the parameters, keep their clicks."""
    for columns in (ALL, Columns(label=CLICKED, categorical=("channel", "device", "creative"))):
        ads = read_ads(table, teacher(base, ALL), base)
        known = [ads.at[name] for name in FEATURES if name in {*columns.numeric, *columns.categorical}]
        _, cell = np.unique(np.stack(known), axis=1, return_inverse=True)
        mean = np.bincount(cell.ravel(), ads.taught) / np.bincount(cell.ravel(), ads.n)
        reads = frozenset({*columns.numeric, *columns.categorical})
        found = distil(replace(ads, taught=ads.n * mean[cell.ravel()], reads=reads), base)
        for name in found.names:
            now, before = found.file.parameters[name].value, base.parameters[name].value
            np.testing.assert_allclose(now, before, rtol=0.002, err_msg=name)
        for response in found.file.response.values():
            np.testing.assert_allclose(response.value, 1.0, rtol=0.005)


@pytest.mark.parametrize(("kind", "chance"), [("feed", 0.9), ("feed", 0.97), ("feed", 1e-7), ("search", 0.6)])
def test_chances_far_from_the_bases_are_met(base: MarketFile, table: Path, kind: str, chance: float) -> None:
    wide = {"low": 0.0, "high": 1e9}
    names = ("feed_click_odds", "search_click")
    file = replace(base, parameters=base.parameters | {n: replace(base.parameters[n], **wide) for n in names})
    ads = read_ads(table, teacher(file), file)
    rows = ads.of(kind)
    found = distil(replace(ads, taught=np.where(rows, chance * ads.n, ads.taught)), file)
    clicks = expected_clicks(found.file, ads)
    assert clicks[rows].sum() / ads.n[rows].sum() == pytest.approx(chance, rel=0.01)
    assert "the fit did not come to rest" not in str(found.figures["notes"])


def test_a_parameter_at_the_end_of_its_range_is_made_up_for_by_the_others(
    base: MarketFile, table: Path
) -> None:
    """Slots are no axis of the tables: a position past 1 is 1, and searches have as many clicks as before."""
    ads = read_ads(table, teacher(base), base)
    more = np.where(ads.searched & (ads.at["slot"] > 0), 2.0, 1.0)
    found = distil(replace(ads, taught=ads.taught * more, reads=ads.reads - {"segment", "query"}), base)
    assert "position" in found.figures["at_limit"] and found.file.parameters["position"].value.max() == 1.0
    middle = expected_clicks(replace(found.file, response={}), ads)
    searched = ads.searched
    assert middle[searched].sum() == pytest.approx((ads.taught * more)[searched].sum(), rel=0.001)
    assert any("end of their range: position" in note for note in found.figures["notes"])


def test_a_cell_of_a_table_that_stops_at_its_range_is_told(base: MarketFile, table: Path) -> None:
    ads = read_ads(table, teacher(base), base)
    rare = (ads.at["channel"] == 0) & (ads.at["creative"] == 1) & (ads.at["device"] == 1)
    found = distil(
        replace(
            ads,
            taught=ads.taught * np.where(rare, 1e-4, 1.0),
            reads=frozenset({"channel", "creative", "device"}),
        ),
        base,
    )
    assert found.file.response["feed"].value.min() == RESPONSE_RANGE[0]
    assert "response.feed: 1 cells stop at the end of their range" in found.figures["notes"]


def test_what_a_market_never_clicks_stays_so(base: MarketFile, table: Path) -> None:
    was = {name: stated.value.copy() for name, stated in base.parameters.items()}
    was["feed_click_odds"][1], was["search_click"][2] = 0.0, 0.0
    never = base.with_values({name: was[name] for name in ("feed_click_odds", "search_click")})
    found = distil(read_ads(table, teacher(base), never), never)
    for name, i in (("feed_click_odds", 1), ("search_click", 2)):
        now = found.file.parameters[name].value
        assert now[i] == 0.0
        np.testing.assert_allclose(np.delete(now, i), np.delete(was[name], i), rtol=0.01)
    assert np.isfinite(found.file.response["feed"].value).all()


def test_the_fit_is_the_maximum_of_its_likelihood(base: MarketFile, other: MarketFile, table: Path) -> None:
    from scipy.optimize import minimize

    ads = read_ads(table, teacher(other), base)
    columns = distilling._free(ads, base)
    design = np.stack([column.where for column in columns], axis=1)
    offset = taught.log_odds_of(base, ads)
    penalty = np.array([column.penalty for column in columns])

    def loss(theta: np.ndarray) -> tuple[float, np.ndarray]:
        eta = offset + design @ theta
        chance = np.where(ads.searched, np.exp(eta), 1 / (1 + np.exp(-eta)))
        each = np.where(ads.searched, ads.n * chance, ads.n * np.log1p(np.exp(eta))) - ads.taught * eta
        gradient = design.T @ (ads.n * chance - ads.taught) + penalty * theta
        return each.sum() + 0.5 * (penalty * theta**2).sum(), gradient

    theta, ended = distilling._fit(ads, offset, columns)
    best = minimize(loss, theta, jac=True, method="BFGS")
    assert ended and loss(theta)[0] <= best.fun + 1e-6
    assert np.abs(loss(theta)[1]).max() < 1e-3


def test_a_parameter_stops_at_its_range_and_the_table_has_the_rest(base: MarketFile, table: Path) -> None:
    limit = base.parameters["creative_fit"].high
    value = np.ones(3)
    value[1] = 2.0 * limit
    loud = replace(base, response={"feed": Response(over=("creative",), value=value)})
    found = distil(read_ads(table, teacher(loud), base), base)
    assert "creative_fit" in found.figures["at_limit"]
    assert found.file.parameters["creative_fit"].value.max() <= limit
    assert found.figures["fit"]["market"]["misplaced"] < 0.005


def test_the_written_file_is_the_distilled_market(
    base: MarketFile, other: MarketFile, table: Path, tmp_path: Path
) -> None:
    found = distil(read_ads(table, teacher(other), base), base)
    path = tmp_path / "own.toml"
    write_market(path, found.file, base, told="Made by: a test", names=found.names, strength="C", source="s")
    again = load(path)
    assert compile_rules(again, 3) == compile_rules(found.file, 3)
    assert again.spread == base.spread and again.ltv_usd == base.ltv_usd


def test_no_market_that_the_new_one_needs_is_overwritten(base: MarketFile, tmp_path: Path) -> None:
    folder = tmp_path / 'we"ird'
    folder.mkdir()
    first, second, link = folder / "first.toml", folder / "second.toml", folder / "link.toml"
    write = {"told": "Made by: a test", "names": ["click_class"], "strength": "C", "source": "s"}
    write_market(first, base, base, **write)
    write_market(second, load(first), load(first), **write)
    link.symlink_to(second)
    before = first.read_bytes(), second.read_bytes()
    for path in (first, second, link):
        with pytest.raises(BadInput, match=r"must not be second\.toml or a file that it extends"):
            write_market(path, load(second), load(second), **write)
    with pytest.raises(BadInput, match=r"\.toml"):
        write_market(folder / "third.json", base, base, **write)
    assert (first.read_bytes(), second.read_bytes()) == before
    elsewhere = tmp_path / "elsewhere" / "far.toml"
    outward = folder / "outward.toml"
    elsewhere.parent.mkdir()
    elsewhere.touch()
    outward.symlink_to(elsewhere)
    write_market(outward, load(first), load(first), **write)
    assert load(outward).name == base.name and elsewhere.read_bytes() == b""
    assert not [path for path in folder.iterdir() if path.name.startswith(".")]


# refusals


def test_models_that_a_market_cannot_use_are_refused(base: MarketFile, table: Path) -> None:
    late = replace(teacher(base), buckets=DelayBuckets((24.0, 48.0)))
    with pytest.raises(BadInput, match="without --delay"):
        read_ads(table, late, base)
    blind = Columns(label=CLICKED, categorical=("device",))
    with pytest.raises(BadInput, match="must read `channel`"):
        read_ads(table, replace(teacher(base), columns=blind), base)
    seen = teacher(base).manifest["labels_by_word"]
    few = {**seen, "creative": dict.fromkeys(seen["creative"], 29), "query": dict.fromkeys(seen["query"], 3)}
    with pytest.raises(BadInput, match=r"too few of .*generic \(3\)"):
        read_ads(table, replace(teacher(base), manifest={"labels_by_word": few}), base)
    forgetful = replace(teacher(base), manifest={})
    with pytest.raises(BadInput, match="must remember how many clicks"):
        read_ads(table, forgetful, base)
    has = replace(base, response={"search": Response(over=("query",), value=np.ones(4))})
    with pytest.raises(BadInput, match="without \\[response\\]"):
        distil(read_ads(table, teacher(base), base), has)


@pytest.mark.parametrize(
    ("column", "word", "error", "said"),
    [
        ("channel", "tv", UnknownName, "tv"),
        ("segment", "pirates", UnknownName, "pirates"),
        ("creative", "", BadInput, "creative in row 1"),
        ("stage", "", BadInput, "stage in row 1"),
        ("views", "-1", BadInput, "views in row 1"),
        ("views", "many", BadInput, "views in row 1"),
        ("slot", "9", BadInput, "slot in row 1"),
        ("slot", "2.4", BadInput, "slot in row 1"),
    ],
)
def test_a_table_in_other_words_is_refused(
    base: MarketFile, tmp_path: Path, column: str, word: str, error: type[Exception], said: str
) -> None:
    row = {CLICKED: "0", "channel": "social", "device": "mobile", "audience": "new", "views": "0",
           "query": "", "creative": AXES["creative"][0], "slot": "", "stage": "aware",
           "segment": base.segments[0]}  # fmt: skip
    path = tmp_path / "one.csv"
    path.write_text(",".join(row) + "\n" + ",".join({**row, column: word}.values()) + "\n")
    with pytest.raises(error, match=said):
        read_ads(path, teacher(base), base)


def test_a_table_without_a_column_of_the_market_is_refused(base: MarketFile, tmp_path: Path) -> None:
    path = tmp_path / "narrow.csv"
    path.write_text("clicked,channel\n0,social\n")
    with pytest.raises(UnknownName, match="views"):
        read_ads(path, teacher(base), base)
