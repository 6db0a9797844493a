"""What OpenAPI shows is what the loop says."""

import datetime as dt

from gaelp.prediction.retrain_config import TARGETS
from gaelp.prediction.runs import STATUSES, TRIGGERS, RetrainReply
from gaelp.prediction.triggers import Reason
from gaelp.service.bodies import CheckReply, CheckRequest, Prediction
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
