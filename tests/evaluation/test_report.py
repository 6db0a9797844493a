import itertools
import json
import re
from html.parser import HTMLParser
from importlib.resources import files

import numpy as np
import plotly.graph_objects as go
import pytest

from gaelp.core.errors import BadInput, UnknownName
from gaelp.evaluation import report
from gaelp.evaluation.report_charts import Colours, funnel, prices
from gaelp.evaluation.report_sections import SECTIONS


class Outline(HTMLParser):
    """Tags with their attributes, texts by the section they stand in, scripts left out."""

    def __init__(self, page):
        super().__init__()
        self.tags, self.text, self.section, self.script = [], {}, "head", False
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        self.script = tag in ("script", "style")
        if tag == "section":
            self.section = dict(attrs)["id"]

    def handle_endtag(self, tag):
        self.script = self.script and tag not in ("script", "style")

    def handle_data(self, data):
        if not self.script:
            self.text[self.section] = self.text.get(self.section, "") + data


def figures(page):
    return json.loads(re.search(r'id="chart-data">(.*?)</script>', page).group(1))


@pytest.fixture
def page(report_data):
    return report.render(report_data)


def test_a_full_report_fills_every_section(page):
    outline = Outline(page)
    assert [name for name in outline.text if name in SECTIONS] == list(SECTIONS)
    assert "No data" not in page
    assert all("Source:" in outline.text[name] for name in SECTIONS)


def test_every_figure_has_its_place_and_plotly_accepts_it(page):
    drawn = figures(page)
    places = [attrs["id"] for _, attrs in Outline(page).tags if attrs.get("class") == "chart"]
    assert places == list(drawn)
    for figure in drawn.values():
        plain = re.sub(r'"@[a-z]+\d?(/[\d.]+)?"', '"#123456"', json.dumps(figure))
        assert "@" not in plain
        go.Figure(json.loads(plain))  # refuses unknown properties and bad values


def test_every_cartesian_axis_says_what_it_shows(page):
    for name, figure in figures(page).items():
        if figure["data"][0]["type"] != "sankey":
            layout = figure["layout"]
            titles = [layout[axis]["title"]["text"] for axis in ("xaxis", "yaxis")]
            assert titles[0], name
            assert titles[1] or "ticktext" in layout["yaxis"], name


def test_an_empty_report_says_so_in_every_section_and_draws_nothing():
    page = report.render({})
    assert page.count("<b>No data</b>") == len(SECTIONS) == 14
    assert figures(page) == {}
    for name in SECTIONS:
        assert f"nothing under “{name}”" in Outline(page).text[name]


@pytest.mark.parametrize("name", list(SECTIONS))
@pytest.mark.parametrize("empty", [None, {}, [], {"no_data": "the run was cut short"}])
def test_any_one_section_may_be_empty(report_data, name, empty):
    text = Outline(report.render(report_data | {name: empty})).text
    assert "No data" in text[name]
    assert not any("No data" in text[other] for other in SECTIONS if other != name)
    if empty and "no_data" in empty:
        assert "the run was cut short" in text[name]


def test_a_section_without_its_values_says_which_are_missing(report_data):
    report_data["lag"] = {"days": [0, 1], "share_booked": [np.nan, np.nan]}
    assert "“lag” came without values for share_booked" in report.render(report_data)


def test_one_channel_without_prices_leaves_the_others(report_data):
    report_data["prices"][0]["simulated"] = None
    text = Outline(report.render(report_data)).text["prices"]
    assert text.count("No data") == 1
    assert "iPinYou" in text


def test_nothing_is_loaded_from_anywhere(page):
    outline = Outline(page)
    assert not {"link", "img", "iframe", "object", "embed", "base"} & {tag for tag, _ in outline.tags}
    for tag, attrs in outline.tags:
        assert "src" not in attrs, tag
        assert attrs.get("href", "#").startswith("#"), tag
    policy = next(attrs["content"] for _, attrs in outline.tags if attrs.get("http-equiv"))
    assert policy.startswith("default-src 'none'")
    assert "http" not in policy
    assert "url(" not in page[: page.index("</style>")]
    assert "@import" not in page[: page.index("</style>")]


def test_drawing_code_is_inside_once(page):
    assert page.count("plotly.js v") == 1
    assert page.count("</script>") == 3  # figures, Plotly, the page's own


def test_rivals_are_labelled_with_what_is_drawn(page):
    chart = next(fig for fig in figures(page).values() if fig["data"][0].get("name") == "Qustodio")
    assert chart["layout"]["yaxis"]["title"]["text"] == "bid multiplier × pace, mean over lines"
    assert "Bid multiplier × pace of each rival by day" in page and "Mean bid of" not in page


@pytest.mark.parametrize("spread", [31.0, 99.0, 1e3, 1e5])
def test_a_log_axis_has_few_labels(spread):
    values = list(np.geomspace(0.07, 0.07 * spread, 19))
    axis = prices(list(np.linspace(0.05, 0.95, 19)), values, None, "USD per 1000")["layout"]["yaxis"]
    assert axis["type"] == "log" and 2 <= len(axis["tickvals"]) <= 6
    low, high = (10.0**end for end in axis["range"])
    assert low < min(values) and max(values) < high
    assert all(low <= mark <= high for mark in axis["tickvals"])


def test_names_are_escaped_everywhere(report_data):
    bad = "<img src=x onerror=alert(1)></script>"
    report_data["title"] = report_data["market"] = report_data["command"] = bad
    report_data["summary"] = report_data["person"]["lines"] = [bad]
    report_data["person"]["title"] = report_data["hour_of_week"]["source"] = bad
    for rows, key in ((report_data["channels"], "channel"), (report_data["prices"], "channel")):
        rows[0][key] = bad
    for key in ("name", "unit", "source"):
        report_data["targets"][0][key] = bad
    report_data["prices"][0]["unit"] = report_data["prices"][0]["source"] = bad
    report_data["lag"]["arms"][0]["name"] = report_data["lag"]["measured"][0]["source"] = bad
    report_data["funnel"]["stages"][0] = report_data["sankey"]["nodes"][0] = bad
    report_data["rivals"]["bids"][bad] = report_data["rivals"]["bids"].pop("Bark")
    for section in ("spend_plan", "spend_by_day"):
        report_data[section][bad] = report_data[section].pop("fixed")
    board = report_data["leaderboard"]
    board["policies"][bad] = board["policies"].pop("fixed")
    board["pairs"][f"{bad} - pacing"] = board["pairs"].pop("fixed - pacing")
    page = report.render(report_data)
    assert bad not in page
    assert "onerror" not in {key for _, attrs in Outline(page).tags for key in attrs}
    assert "<img" not in json.dumps(figures(page))


def test_undefined_numbers_become_gaps_and_never_nan(report_data):
    report_data["rivals"]["bids"]["Bark"] = np.where(np.arange(90) % 7 == 0, np.nan, 1.0)
    report_data["channels"][0] |= {"attributed_cac_usd": np.nan, "incremental_cac_usd": np.inf}
    report_data["targets"][0] |= {"simulated": float("nan"), "ok": False}
    report_data["funnel"]["people"][3] = None
    page = report.render(report_data)
    text = re.search(r'id="chart-data">(.*?)</script>', page).group(1)
    json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} in the figures"))
    words = Outline(page).text
    assert "nan" not in re.findall(r"\b\w+\b", " ".join(words.values()).lower())
    assert "n/a" in words["channels"]
    assert "n/a" in words["targets"]


def test_stages_are_shares_of_everybody(report_data):
    drawn = funnel(["unaware", "intent", "converted"], [600, 100, 300])["data"][0]
    assert [text.split(" · ")[1] for text in drawn["text"]] == ["60.0 %", "10.0 %", "30.0 %"]


def test_a_policy_keeps_its_colour_in_every_section(report_data):
    report_data["leaderboard"]["policies"]["my agent"] = report_data["leaderboard"]["policies"]["fixed"]
    report_data["spend_by_day"] = {
        "my agent": report_data["spend_by_day"]["fixed"],
        "pacing": report_data["spend_by_day"]["pacing"],
    }
    colour = {}
    for figure in figures(report.render(report_data)).values():
        for trace in figure["data"]:
            if trace.get("name") in ("my agent", "pacing"):
                colour.setdefault(trace["name"], set()).add(trace["line"]["color"])
    assert {name: len(used) for name, used in colour.items()} == {"my agent": 1, "pacing": 1}
    assert colour["my agent"] != colour["pacing"]


def test_known_policies_have_the_same_colour_whatever_else_was_flown():
    alone, crowded = Colours(["pacing"], []), Colours(["a", "b", "pacing", "c"], [])
    assert alone.policy("pacing") == crowded.policy("pacing")
    assert len({crowded.policy(name) for name in ("a", "b", "pacing", "c")}) == 4


def test_the_best_policy_shown_on_top_is_one_that_could_be_flown(report_data):
    board = report_data["leaderboard"]
    board["policies"]["line_oracle"] = json.loads(json.dumps(board["policies"]["static_lines"]))
    board["policies"]["line_oracle"]["incremental_profit_usd"]["mean"] = 1e6
    page = report.render(report_data)
    assert "<b>static_lines</b><span>highest mean" in page
    assert "line_oracle *" in Outline(page).text["leaderboard"]


def test_an_interval_without_upper_end_runs_out_of_the_plot(report_data):
    cac = report_data["leaderboard"]["policies"]["random"]["incremental_cac_usd"]
    cac |= {"high": None}
    page = report.render(report_data)
    assert "∞)" in Outline(page).text["leaderboard"]
    symbols = [trace["marker"]["symbol"] for trace in figures(page)["chart-2"]["data"]]
    assert [symbol[2] == "triangle-right" for symbol in symbols] == [False, False, False, True]


def test_arrays_that_do_not_fit_are_named(report_data):
    report_data["lag"]["share_booked"] = [0.1, 0.2]
    with pytest.raises(BadInput, match=r"lag\.share_booked"):
        report.render(report_data)


def test_links_to_no_node_and_short_weeks_are_named(report_data):
    with pytest.raises(BadInput, match=r"sankey\.links\[0\]\.target"):
        report.render({"sankey": {"nodes": ["a"], "links": [{"source": 0, "target": 3, "value": 1}]}})
    with pytest.raises(BadInput, match=r"hour_of_week\.measured"):
        report.render({"hour_of_week": {"simulated": [1.0] * 168, "measured": [1.0] * 24}})


def test_a_misspelt_section_is_refused_with_the_nearest_name():
    with pytest.raises(UnknownName, match="leaderboard"):
        report.render({"leaderbord": {}})


def test_a_report_that_cannot_be_drawn_leaves_the_old_file(tmp_path, report_data):
    path = tmp_path / "demo" / "report.html"
    report.write(path, report_data)
    before = path.read_bytes()
    assert before.decode("utf-8") == report.render(report_data)
    with pytest.raises(BadInput):
        report.write(path, {"lag": {"days": [1], "share_booked": [0.1, 0.2]}})
    assert path.read_bytes() == before
    assert list(path.parent.iterdir()) == [path]


# Machado, Oliveira & Fernandes (2009), severity 1.0, on linear RGB
VISIONS = {
    "usual": np.eye(3),
    "no green": [
        [0.367322, 0.860646, -0.227968],
        [0.280085, 0.672501, 0.047413],
        [-0.011820, 0.042940, 0.968881],
    ],
    "no red": [
        [0.152286, 1.052583, -0.204868],
        [0.114503, 0.786281, 0.099216],
        [-0.003882, -0.048116, 1.051998],
    ],
}


def lab(colour, vision):
    rgb = np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)]) / 255
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    seen = np.clip(np.array(VISIONS[vision]) @ linear, 0, 1)
    xyz = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]) @ seen
    f = np.cbrt(xyz / [0.9505, 1.0, 1.089])
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


@pytest.mark.parametrize("vision", VISIONS)
@pytest.mark.parametrize("theme", [0, 1])
@pytest.mark.parametrize("kind", ["p", "c"])
def test_colours_stay_apart_for_colour_blind_readers(kind, theme, vision):
    template = files("gaelp.evaluation").joinpath("templates/report.html").read_text(encoding="utf-8")
    block = re.findall(r":root[^{]*\{(.*?)\}", template, re.DOTALL)[theme]
    colours = re.findall(rf"--{kind}\d: (#\w{{6}})", block)
    assert len(colours) == {"p": 7, "c": 8}[kind]
    for a, b in itertools.combinations(colours, 2):
        assert np.linalg.norm(lab(a, vision) - lab(b, vision)) > 15, (a, b)
