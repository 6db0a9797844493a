"""What is wrong with a request is told in words of the request, not of Python, Pydantic or the database."""

import datetime as dt

import pytest
from pydantic import ValidationError

from gaelp.service.bodies import BatchRequest, CheckRequest, OutcomesRequest, PredictRequest, PurchaseEvent
from gaelp.service.complaints import complaint, shown

from .world import FEATURES

NUL = "text may not hold the character NUL"
CELL = "must be a number, text or null"
MOMENT = "must be a moment with its time zone, as 2026-11-22T01:12:09Z"
OUTCOME = {"prediction_id": "p", "day": "2026-01-01", "trials": 1, "events": 0}
SALE = {"at": "2026-01-01T00:00:00Z"}
ALIEN = ("input", "string should", "pattern", "constrained", "datetime", "dict", "pydantic", "validation")


def features(**changes):
    return {"video_id": "clip", "features": {**FEATURES, **changes}}


def outcome(**changes):
    return {"outcomes": [{**OUTCOME, **changes}]}


@pytest.mark.parametrize(
    ("model", "body", "name", "value", "allowed"),
    [
        (PredictRequest, features(site="a\0b"), "features.site", "a\0b", NUL),
        (PredictRequest, features(**{"a\0b": 1}), "features.a\0b", "a\0b", NUL),
        (PredictRequest, {**features(), "video_id": "a\0b"}, "video_id", "a\0b", NUL),
        (PurchaseEvent, {**SALE, "person": "a\0b"}, "person", "a\0b", NUL),
        (OutcomesRequest, outcome(prediction_id="\0"), "outcomes.0.prediction_id", "\0", NUL),
        (
            PredictRequest,
            {**features(), "video_id": "a\nb"},
            "video_id",
            "a\nb",
            "text may not hold control characters, such as line breaks",
        ),
        (PredictRequest, features(x=True), "features.x", True, CELL),
        (PredictRequest, features(x={"a": None}), "features.x", '{"a": null}', CELL),
        (PredictRequest, features(x=1e300), "features.x", "1e+300", "must be at most 1e+30"),
        (PredictRequest, features(x=float("nan")), "features.x", "NaN", "must be a finite number"),
        (PredictRequest, features(x=10**400), "features.x", "1" + "0" * 199, f"must be at most {2**53}"),
        (
            PredictRequest,
            features(site="é" * 1001),
            "features.site",
            "é" * 200,
            "must have at most 1000 characters",
        ),
        (
            PredictRequest,
            features(site="\ud800"),
            "features.site",
            "\\ud800",
            "must be text of whole Unicode characters",
        ),
        (PredictRequest, {"features": FEATURES}, "video_id", None, "must be given"),
        (PredictRequest, {"video_id": "clip", "features": []}, "features", "[]", "must be an object"),
        (PredictRequest, {**features(), "z": 1}, "z", 1, "must be left out: there is no such field"),
        (BatchRequest, {"rows": []}, "rows", "[]", "must not be empty"),
        (BatchRequest, {"rows": "x"}, "rows", "x", "must be a list"),
        (OutcomesRequest, outcome(day=20000), "outcomes.0.day", 20000, "must be a day, as 2026-11-21"),
        (
            OutcomesRequest,
            outcome(day="2026-02-31"),
            "outcomes.0.day",
            "2026-02-31",
            "must be a day, as 2026-11-21",
        ),
        (
            OutcomesRequest,
            outcome(day="1969-12-31"),
            "outcomes.0.day",
            "1969-12-31",
            "must be a day from 1970-01-02 to 2199-12-31",
        ),
        (OutcomesRequest, outcome(trials=1.5), "outcomes.0.trials", 1.5, "must be a whole number"),
        (OutcomesRequest, outcome(trials="5"), "outcomes.0.trials", "5", "must be a whole number"),
        (
            CheckRequest,
            {"trigger": "whim"},
            "trigger",
            "whim",
            "must be one of 'manual', 'daily', 'scheduled' or 'purchase'",
        ),
        (CheckRequest, {"force": 1}, "force", 1, "must be true or false"),
        (PurchaseEvent, {"at": "noon"}, "at", "noon", MOMENT),
        (PurchaseEvent, {"at": 1_700_000_000}, "at", 1_700_000_000, MOMENT),
        (PurchaseEvent, {"at": "1700000000"}, "at", "1700000000", MOMENT),
        (PurchaseEvent, {"at": "1700000000.5"}, "at", "1700000000.5", MOMENT),
        (PurchaseEvent, {"at": "2026-01-01"}, "at", "2026-01-01", MOMENT),
        (PurchaseEvent, {"at": True}, "at", True, MOMENT),
        (PurchaseEvent, {**SALE, "clicked_at": 1_700_000_000}, "clicked_at", 1_700_000_000, MOMENT),
        (PurchaseEvent, {"at": "2026-01-01T00:00:00"}, "at", "2026-01-01T00:00:00", MOMENT),
        (PurchaseEvent, {**SALE, "currency": "usd"}, "currency", "usd", "must be three capital letters"),
        (
            PurchaseEvent,
            {**SALE, "value_micros": 2**60},
            "value_micros",
            str(2**60),
            f"must be at most {2**53 - 1}",
        ),
        (
            PurchaseEvent,
            {"at": "1989-12-31T00:00:00Z"},
            "at",
            "1989-12-31T00:00:00Z",
            "must be at least 1990-01-01T00:00:00Z",
        ),
    ],
    ids=lambda each: each.__name__ if isinstance(each, type) else "",
)
def test_what_is_wrong_is_told_in_words_of_the_request(model, body, name, value, allowed):
    with pytest.raises(ValidationError) as refused:
        model.model_validate(body)
    errors = [{**each, "loc": ("body", *each["loc"])} for each in refused.value.errors()]
    told = complaint(errors)
    assert (told[0], shown(told[1]), told[2]) == (name, value, allowed)
    assert not any(word in told[2].lower() for word in ALIEN)


def test_a_value_is_shown_as_json_would_write_it():
    moment = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
    assert [shown(each) for each in (None, True, 3, 0.5, (9, None), moment)] == [
        *(None, True, 3, 0.5),
        "[9, null]",
        "2026-01-01T00:00:00+00:00",
    ]
    assert shown(b'{"a": 1}\xff') == '{"a": 1}\ufffd'
    endless = []
    endless.append(endless)
    assert shown(endless) == "(too large to show)"
