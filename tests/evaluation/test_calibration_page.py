"""The page of a calibration says what was found, what was not, and nothing else."""

import re
from typing import Any

from gaelp.evaluation.calibration_page import render, sentences


def found(**changes: Any) -> dict[str, Any]:
    parameter = {
        "about": "what rivals value a search click at",
        "of": "price_level",
        "base": 3.2,
        "value": 4.1,
        "low": 3.0,
        "high": 5.5,
        "level": 0.25,
        "level_sd": 0.18,
        "width": 0.5,
        "identified": True,
    }
    statistic = {
        "about": "sales a person and day",
        "real": 0.0011,
        "simulated": 0.0012,
        "low": 0.0009,
        "high": 0.0015,
        "p": 0.61,
        "prior_p": 0.7,
    }
    return {
        "days": 30,
        "people": 3000,
        "visits": 2100,
        "sales": 107,
        "worlds": 1000,
        "parameters": {"search_price": parameter, "lag_days": {**parameter, "identified": False}},
        "statistics": {"sales": statistic, "visits_search": {**statistic, "p": 0.01}},
        "unidentified": ["lag_days"],
        "misfits": ["visits_search"],
        "beyond_prior": [],
        "journeys": {"auc": 0.53, "low": 0.5, "high": 0.56, "n_real": 900, "n_simulated": 3600},
        **changes,
    }


def test_sentences_name_what_the_data_do_not_tell() -> None:
    said = " ".join(sentences(found()))
    assert "1 of 2 parameters" in said and "lag_days" in said and "0.530 (0.500 to 0.560)" in said
    assert "check the base file" not in said
    assert "visits_email" in " ".join(sentences(found(beyond_prior=["visits_email"])))


def test_rows_of_the_ad_report_that_were_left_out_are_told_where_there_are_some() -> None:
    told = "1,203 rows of the ad report are of days outside of the data, and left out."
    assert sentences(found(ad_rows_outside=1203))[1] == told
    assert told in render({}, found(ad_rows_outside=1203))
    for none in (found(), found(ad_rows_outside=0)):
        assert "ad report" not in render({}, none)


def test_the_page_shows_every_parameter_and_figure_and_marks_misfits() -> None:
    page = render({"title": "Calibration of a market"}, found())
    for text in ("search price", "lag days", "not told", "visits search", "misfit", "0.530"):
        assert text in page
    assert "<title>Calibration of a market</title>" in page


def test_without_known_people_the_page_says_so() -> None:
    assert "too few people allow tracking" in render({}, found(journeys=None))


def test_no_two_parts_of_the_page_have_one_id_so_that_its_charts_find_their_data() -> None:
    page = render({}, found())
    ids = re.findall(r'<[a-z]+ [^>]*\bid="([^"]+)"', page)
    assert {"chart-data", "chart-1", "figures"} <= set(ids) and len(set(ids)) == len(ids)
