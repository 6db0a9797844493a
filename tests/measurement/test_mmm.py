"""Tables for media mix models: the columns their loaders name, whole weeks, nothing lost on the way."""

from typing import Any

import numpy as np
import pytest

from gaelp.core.errors import BadInput, UnknownName
from gaelp.measurement.mmm import GeoWeeks, geo_weeks, lift_tests, table_of

GEOS, CHANNELS = ["north", "south"], ["search", "video", "email"]
DAYS = 23
FIRST = np.datetime64("2025-03-05")


def given(**changed: Any) -> dict[str, Any]:
    draw = np.random.default_rng(4)
    columns = {
        "population": np.array([300.0, 700.0]),
        "sales": draw.poisson(2.0, (DAYS, 2)),
        "revenue_usd": draw.uniform(0, 300, (DAYS, 2)),
        "spend_usd": draw.uniform(0, 9, (DAYS, 2, 3)) * np.array([1.0, 0.0, 1.0]),  # no video
        "impressions": draw.poisson(50.0, (DAYS, 2, 3)),
    }
    columns["sales"][7:14, 0] = 0
    columns["revenue_usd"][7:14, 0] = 0.0
    return columns | changed


@pytest.fixture
def weeks() -> GeoWeeks:
    return geo_weeks(GEOS, FIRST, CHANNELS, **given())


def test_weeks_are_whole_and_add_up(weeks: GeoWeeks) -> None:
    assert [str(week) for week in weeks.weeks] == ["2025-03-05", "2025-03-12", "2025-03-19"]
    assert weeks.sales.sum(axis=1).tolist() == given()["sales"][:21].sum(axis=0).tolist()
    assert weeks.sales[1, 2] == given()["sales"][14:21, 1].sum()
    assert weeks.spend_usd[0, 1, 1] == pytest.approx(given()["spend_usd"][7:14, 0, 2].sum())
    assert weeks.channels == ("search", "email")  # what cost nothing has no column to learn from


def test_meridian_gets_the_columns_of_its_csv_loader(weeks: GeoWeeks) -> None:
    table = table_of(weeks, "meridian")
    assert list(table) == [
        *("geo", "time", "kpi", "revenue_per_kpi", "population"),
        *("search_impression", "search_spend", "email_impression", "email_spend"),
    ]
    assert {len(column) for column in table.values()} == {6}
    assert table["geo"].tolist() == ["north"] * 3 + ["south"] * 3
    assert table["time"].tolist() == ["2025-03-05", "2025-03-12", "2025-03-19"] * 2
    assert table["population"].tolist() == [300.0] * 3 + [700.0] * 3
    assert table["kpi"][1] == 0 and np.isfinite(table["revenue_per_kpi"]).all()
    assert (table["kpi"] * table["revenue_per_kpi"]).sum() == pytest.approx(weeks.revenue_usd.sum())


def test_pymc_marketing_gets_date_geo_target_and_a_column_a_channel(weeks: GeoWeeks) -> None:
    table = table_of(weeks, "pymc")
    assert list(table) == ["date", "geo", "y", "search", "email"]
    assert table["y"].tolist() == weeks.sales.ravel().tolist()
    assert table["search"].reshape(2, 3) == pytest.approx(weeks.spend_usd[..., 0], abs=1e-6)


def test_lift_tests_hold_the_information_of_the_account_once(weeks: GeoWeeks) -> None:
    table = lift_tests(weeks, 3.0, {"search": 12.0, "email": -1.0}, {"search": 4.0, "email": 1.0})
    assert list(table) == ["channel", "geo", "x", "delta_x", "delta_y", "sigma"]
    assert table["channel"].tolist() == ["search", "search"]  # a wrong sign has no rows
    assert table["geo"].tolist() == GEOS
    assert table["x"] * 3.0 == pytest.approx(weeks.spent_usd[:, 0])
    assert (table["delta_x"] == -table["x"]).all() and (table["delta_y"] < 0).all()
    assert table["delta_y"].sum() == pytest.approx(-4.0)
    # a common factor on all effects is known as well from both rows together as from the one test
    assert ((table["delta_y"] / table["sigma"]) ** 2).sum() == pytest.approx((12.0 / 4.0) ** 2)
    assert not lift_tests(weeks, 3.0, {}, {})["x"].size


def test_a_lift_test_holds_spend_and_sales_of_the_same_days(weeks: GeoWeeks) -> None:
    spent = given()["spend_usd"][..., 0]  # 23 days, of which 21 make whole weeks
    table = lift_tests(weeks, DAYS / 7, {"search": 46.0}, {"search": 4.0})
    assert table["x"] == pytest.approx(7 * spent.mean(axis=0))
    assert table["delta_y"].sum() == pytest.approx(-7 * 46.0 / DAYS)
    assert table["delta_y"].sum() / table["delta_x"].sum() == pytest.approx(46.0 / spent.sum())
    # a day more of the same spend, beyond the last whole week, leaves the rate where it was
    steady = np.broadcast_to(spent.mean(axis=0)[:, None] * np.array([1.0, 0.0, 0.0]), (DAYS, 2, 3))
    for days in (21, 22, 23):
        cut = {name: column[:days] if name != "population" else column for name, column in given().items()}
        one = geo_weeks(GEOS, FIRST, CHANNELS, **cut | {"spend_usd": steady[:days]})
        rate = lift_tests(one, days / 7, {"search": 2.0 * days}, {"search": 1.0})
        assert rate["x"] == pytest.approx(table["x"]) and rate["delta_y"] == pytest.approx(table["delta_y"])


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"sales": np.ones((13, 2))}, "at least 14"),
        ({"population": np.array([0.0, 1.0])}, "north"),
        ({"spend_usd": np.zeros((DAYS, 2, 3))}, "spend_usd"),
        ({"sales": np.zeros((DAYS, 2))}, "sales"),
    ],
)
def test_what_no_model_could_read_is_refused(changed: dict[str, Any], said: str) -> None:
    with pytest.raises(BadInput, match=said):
        geo_weeks(GEOS, FIRST, CHANNELS, **given(**changed))


def test_an_unknown_shape_is_refused(weeks: GeoWeeks) -> None:
    with pytest.raises(UnknownName, match="meridian, pymc"):
        table_of(weeks, "robyn")
