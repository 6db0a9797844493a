"""A market file is checked when it is read: one line says what was wrong, what is allowed and what to do."""

import copy
import itertools
import tomllib
from pathlib import Path

import numpy as np
import pytest

from gaelp.core.errors import BadInput, MarketFileError
from gaelp.market.file import compile_rules, load
from gaelp.market.parameters import BY_NAME, PARAMETERS, axis_names

STRENGTHS = {"A", "B", "C", "assumed"}


@pytest.fixture(scope="session")
def raw(market_path):
    return tomllib.loads(market_path.read_text())


def as_toml(value):
    """A TOML value on one line."""
    if isinstance(value, dict):
        return "{ " + ", ".join(f'"{k}" = {as_toml(v)}' for k, v in value.items()) + " }"
    if isinstance(value, list):
        return "[" + ", ".join(map(as_toml, value)) + "]"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        quoted = value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
        return f'"{quoted}"'
    return repr(value)


def write(folder: Path, content: dict) -> Path:
    path = folder / "edited.toml"
    path.write_text("\n".join(f"{key} = {as_toml(value)}" for key, value in content.items()) + "\n")
    return path


@pytest.fixture
def edited(raw, tmp_path):
    """Writes the market file with an edit: a function that changes the tables in place."""

    def make(change) -> Path:
        content = copy.deepcopy(raw)
        change(content)
        return write(tmp_path, content)

    return make


def complaint(path) -> str:
    with pytest.raises(MarketFileError) as caught:
        load(path)
    error = caught.value
    text = str(error)
    assert "\n" not in text
    assert error.exit_code == 2
    assert error.allowed and error.remedy.endswith((".", "?"))
    assert error.allowed in text and error.remedy in text and error.name in text
    return text


def put(*at):
    """An edit that sets one place: `put("market", "people", 0)`."""
    *keys, last, value = at

    def change(content):
        for key in keys:
            content = content[key]
        content[last] = value

    return change


def drop(*at):
    *keys, last = at

    def change(content):
        for key in keys:
            content = content[key]
        del content[last]

    return change


# what is right


def test_the_file_as_written_again_says_the_same(edited, market_file):
    again = load(edited(lambda content: None))
    assert again.parameters.keys() == market_file.parameters.keys()
    for name, stated in again.parameters.items():
        assert np.array_equal(stated.value, market_file.parameters[name].value), name
    assert again.rivals == market_file.rivals
    assert compile_rules(again, 3) == compile_rules(market_file, 3)


@pytest.mark.parametrize("parameter", PARAMETERS, ids=lambda parameter: parameter.name)
def test_every_parameter_is_stated_with_unit_range_strength_and_source(parameter, raw, market_file):
    entry = raw["parameters"][parameter.name]
    stated = market_file.parameters[parameter.name]
    assert isinstance(entry["unit"], str)
    assert len(entry["source"]) >= 8
    assert entry["strength"] in STRENGTHS
    assert stated.low < stated.high
    assert (stated.value >= stated.low).all() and (stated.value <= stated.high).all()
    axes = [axis_names(axis, market_file.segments) for axis in parameter.axes]
    assert stated.value.shape == tuple(map(len, axes))
    assert parameter.about


def test_no_parameter_is_known_that_the_schema_does_not_name(raw):
    assert raw["parameters"].keys() == BY_NAME.keys()


def test_values_in_the_rules_are_the_files_own(market_file):
    rules = compile_rules(market_file, 1)
    for name, stated in market_file.parameters.items():
        within = tuple(slice(0, n) for n in stated.value.shape)
        assert np.array_equal(rules[name][within], stated.value), name


def test_every_target_has_a_band_and_a_source(market_file):
    assert len(market_file.targets) >= 15
    for target in market_file.targets.values():
        assert target.low < target.high and len(target.source) >= 8, target.name


# what is wrong


def test_an_unknown_key_is_answered_with_the_nearest_known_one(edited):
    text = complaint(edited(put("parameters", "fatigue_exponnent", {"value": 1.0})))
    assert "fatigue_exponnent" in text and "Did you mean 'fatigue_exponent'?" in text
    text = complaint(edited(put("market", "curency", "USD")))
    assert "curency" in text and "Did you mean 'currency'?" in text
    text = complaint(edited(put("parameters", "need", "valeu", 1.0)))
    assert "Did you mean 'value'?" in text
    assert "Did you mean 'targets'?" in complaint(edited(put("target", {})))
    text = complaint(edited(put("parameters", "need", "value", "crisis_parents", 1.0)))
    assert "Did you mean 'crisis_parent'?" in text
    assert "Did you mean 'strength'?" in complaint(edited(put("rivals", 0, "strenght", 1.0)))
    assert "Did you mean 'goodwill_view'?" in complaint(edited(put("spread", "goodwil_view", 0.1)))


def test_a_missing_parameter_is_named_with_its_meaning(edited):
    text = complaint(edited(drop("parameters", "buy_rate")))
    assert "buy_rate" in text and BY_NAME["buy_rate"].about in text


@pytest.mark.parametrize("key", ["value", "unit", "range", "strength", "source"])
def test_a_parameter_without_one_of_its_parts_is_refused(edited, key):
    assert f"buy_rate.{key}" in complaint(edited(drop("parameters", "buy_rate", key)))


@pytest.mark.parametrize("key", ["people", "daily_budget_usd", "segments", "start"])
def test_a_missing_fact_is_named(edited, key):
    text = complaint(edited(drop("market", key)))
    assert f"market.{key}" in text and "must be given" in text


@pytest.mark.parametrize("section", ["market", "parameters", "status_quo", "rivals"])
def test_a_missing_section_is_named(edited, section):
    assert section in complaint(edited(drop(section)))


def test_a_value_out_of_range_is_shown_with_its_range(edited, raw):
    low, high = raw["parameters"]["buy_rate"]["range"]
    text = complaint(edited(put("parameters", "buy_rate", "value", 7.5)))
    assert "buy_rate" in text and "7.5" in text and f"from {low:g} to {high:g}" in text
    text = complaint(edited(put("parameters", "position", "value", "second", -0.25)))
    assert "position" in text and "-0.25" in text


@pytest.mark.parametrize("value", [float("nan"), float("inf"), "many", True, [1.0], {"a": 1.0}])
def test_a_value_that_is_no_number_is_refused(edited, value):
    assert "buy_rate" in complaint(edited(put("parameters", "buy_rate", "value", value)))


def test_a_list_of_the_wrong_length_is_refused_with_the_names_it_needs(edited):
    text = complaint(edited(put("parameters", "position", "value", [1.0, 0.8])))
    assert "must have 4 entries (first, second, third, fourth)" in text


@pytest.mark.parametrize("people", [0, -5, 10**12])
def test_an_impossible_number_of_people_is_refused(edited, people):
    text = complaint(edited(put("market", "people", people)))
    assert "market.people" in text and str(people) in text


def test_a_date_that_does_not_exist_is_refused(edited):
    assert "2025-02-30" in complaint(edited(put("market", "start", "2025-02-30")))


def test_an_unknown_strategy_is_answered_with_the_known_ones(edited):
    text = complaint(edited(put("rivals", 1, "strategy", "q_lerning")))
    assert "q_lerning" in text and "paced_value" in text and "Did you mean 'q_learning'?" in text


def test_an_unknown_strength_or_sight_is_refused(edited):
    assert "'D'" in complaint(edited(put("parameters", "need", "strength", "D")))
    cell = {"click": {"sight": "everything"}}
    assert "everything" in complaint(edited(put("visibility", {"search": cell})))


def test_an_unknown_hour_table_is_refused(edited):
    with pytest.raises(BadInput) as caught:
        load(edited(put("market", "hour_table", "hour_of_weak")))
    assert "hour_of_week" in str(caught.value) and "\n" not in str(caught.value)


def test_a_file_that_is_no_toml_is_refused_with_the_line(tmp_path):
    path = tmp_path / "broken.toml"
    path.write_text('[market]\nname = "x\n')
    assert "line 2" in complaint(path)
    path.write_bytes(b"\xff\xfe\x00")
    assert "must be TOML" in complaint(path)


def test_a_file_that_is_not_there_is_answered_with_those_that_are(tmp_path, edited, monkeypatch):
    edited(lambda content: None)
    monkeypatch.chdir(tmp_path)
    text = complaint("missing.toml")
    assert "missing.toml" in text and "edited.toml" in text
    assert "must be a readable market file" in complaint(tmp_path)


HOSTILE = [0, -1.5, "", "x", "\n", [], {}, True, [1], ["a"], {"a": 1}, [{"a": 1}], [[1]], 10**30, 10**400]
PLACES = [
    ("market",), ("market", "segments"), ("market", "people"), ("market", "start"), ("market", "name"),
    ("status_quo",), ("status_quo", "multiplier"), ("rivals",), ("rivals", 0), ("rivals", 0, "strategy"),
    ("rivals", 0, "prior"), ("parameters",), ("parameters", "need"), ("parameters", "need", "value"),
    ("parameters", "need", "range"), ("parameters", "need", "strength"), ("targets",),
    ("targets", "search_ctr"), ("targets", "search_ctr", "low"), ("visibility",), ("spread",),
    ("spread", "buy_rate"), ("queries",), ("reference",), ("nonsense",),
]  # fmt: skip


def test_whatever_stands_in_a_file_the_answer_is_one_line(raw, tmp_path):
    without_answer = []
    for place, value in itertools.product(PLACES, HOSTILE):
        content = copy.deepcopy(raw)
        put(*place, value)(content)
        try:
            load(write(tmp_path, content))
        except BadInput as error:
            if "\n" in str(error):
                without_answer.append((place, value, "several lines"))
        except Exception as error:  # a traceback is what must not happen
            without_answer.append((place, str(value)[:20], repr(error)[:80]))
    assert not without_answer


# extends


def child(folder, market_path, text):
    path = folder / "child.toml"
    path.write_text(f"extends = '{market_path}'\n{text}")
    return path


def test_a_file_that_extends_another_states_only_what_differs(tmp_path, market_path, market_file):
    text = (
        '[market]\nname = "other"\n[parameters.buy_rate]\nvalue = 0.01\n[parameters.mail_open]\nvalue = 0.5\n'
    )
    other = load(child(tmp_path, market_path, text))
    assert other.name == "other" and other.currency == market_file.currency
    assert float(other.parameters["buy_rate"].value) == 0.01
    assert other.parameters["buy_rate"].source == market_file.parameters["buy_rate"].source
    same = [n for n in BY_NAME if n not in ("buy_rate", "mail_open")]
    assert all(np.array_equal(other.parameters[n].value, market_file.parameters[n].value) for n in same)
    assert other.sha256 != market_file.sha256


def test_the_hash_of_an_extending_file_changes_with_the_file_it_extends(tmp_path, market_path):
    base = tmp_path / "base.toml"
    base.write_text(market_path.read_text())
    own = child(tmp_path, base, '[market]\nname = "other"\n')
    before = load(own).sha256
    base.write_text(market_path.read_text() + "\n# a remark\n")
    assert load(own).sha256 != before


def test_an_extended_value_is_checked_against_the_range_it_inherits(tmp_path, market_path):
    text = complaint(child(tmp_path, market_path, "[parameters.mail_open]\nvalue = 1.5\n"))
    assert "mail_open" in text and "1.5" in text


def test_files_that_extend_each_other_are_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    one, other = Path("one.toml"), Path("other.toml")
    one.write_text('extends = "other.toml"\n')
    other.write_text('extends = "one.toml"\n')
    assert "must not lead back to itself" in complaint(one)
    one.write_text('extends = "gone.toml"\n')
    assert "gone.toml" in complaint(one)


# values changed in memory


def test_changed_values_are_checked_too(market_file):
    changed = market_file.with_values({"buy_rate": 0.02})
    assert float(changed.parameters["buy_rate"].value) == 0.02
    assert float(market_file.parameters["buy_rate"].value) != 0.02 or changed is not market_file
    with pytest.raises(MarketFileError, match="buy_rate"):
        market_file.with_values({"buy_rate": 2.0})
    with pytest.raises(MarketFileError, match="Did you mean 'buy_rate'"):
        market_file.with_values({"buyrate": 0.02})
    with pytest.raises(MarketFileError, match="nan"):
        market_file.with_values({"buy_rate": float("nan")})


@pytest.mark.parametrize("name", ["segment_share", "floor_share", "lag_share"])
def test_shares_that_cannot_be_shares_are_refused(market_file, name):
    nothing = np.zeros_like(market_file.parameters[name].value)
    with pytest.raises(MarketFileError, match=name):
        compile_rules(market_file.with_values({name: nothing}), 1)
