"""What OpenAPI shows is what the loop says."""

import datetime as dt

import pytest

from gaelp.prediction.retrain_config import TARGETS
from gaelp.prediction.runs import STATUSES, TRIGGERS, RetrainReply
from gaelp.prediction.triggers import Reason
from gaelp.service.bodies import CheckReply, CheckRequest, Prediction, PurchaseEvent
from gaelp.service.example_reply import REPLY


def test_the_example_of_a_reply_is_one_that_the_loop_can_give():
    reasons = tuple(Reason(**each) for each in REPLY["reasons"])
    reply = RetrainReply(
        **{**REPLY, "reasons": reasons, "started": dt.datetime.fromisoformat(REPLY["started"])}
    )
    assert reply.as_dict() == REPLY
    assert set(CheckReply.model_fields) == set(REPLY)
    assert CheckReply.model_validate(REPLY).status in STATUSES


def test_words_are_those_of_the_loop():
    words = {
        CheckReply: ("status", STATUSES),
        CheckRequest: ("trigger", TRIGGERS),
        Prediction: ("target", TARGETS),
    }
    for model, (name, known) in words.items():
        assert tuple(model.model_json_schema()["properties"][name]["enum"]) == known


@pytest.mark.parametrize(
    ("text", "zone_h"),
    [
        ("2026-11-22T01:12:09Z", 0),
        ("2026-11-22T02:12:09+01:00", 1),
        ("2026-11-21T20:12:09.000-0500", -5),
        ("2026-11-22 01:12:09+00:00", 0),
        ("2026-11-22t01:12:09z", 0),
    ],
)
def test_a_moment_is_taken_in_every_zone_and_described_as_text(text, zone_h):
    at = PurchaseEvent.model_validate({"at": text}).at
    assert at == dt.datetime(2026, 11, 22, 1, 12, 9, tzinfo=dt.UTC)
    assert at.utcoffset() == dt.timedelta(hours=zone_h)
    told = PurchaseEvent.model_json_schema()["properties"]["at"]
    assert (told["type"], told["format"]) == ("string", "date-time")
