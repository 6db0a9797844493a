"""What requests hold and answers hold; OpenAPI is made from these."""

import datetime as dt
import re
from typing import Annotated, Any, Literal

from pydantic import (
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StrictBool,
    StrictFloat,
    StrictInt,
    StrictStr,
)
from pydantic_core import PydanticCustomError

from gaelp.prediction.retrain_config import Target
from gaelp.prediction.runs import Status, Trigger
from gaelp.prediction.signals import CLOCK_SKEW_S
from gaelp.service.complaints import CURRENCY, NO_CONTROLS, NO_NUL
from gaelp.service.example_reply import REPLY

_DAY = re.compile(r"\d{4}-\d{2}-\d{2}", re.ASCII)
_MOMENT = re.compile(r"\d{4}-\d{2}-\d{2}[Tt ]\d{2}:\d{2}", re.ASCII)  # and what Pydantic reads after it
_FIRST_DAY, _LAST_DAY = dt.date(1970, 1, 2), dt.date(2199, 12, 31)
Text = Annotated[str, Field(min_length=1, max_length=200, pattern=NO_CONTROLS)]
Number = Annotated[StrictFloat, Field(ge=-1e30, le=1e30, allow_inf_nan=False)]
Whole = Annotated[StrictInt, Field(ge=-(2**53), le=2**53)]
Word = Annotated[StrictStr, Field(max_length=1000, pattern=NO_NUL)]
Features = Annotated[
    dict[Text, Whole | Number | Word | None],
    Field(
        max_length=1000,
        description="The columns of the model, all of them and no others; null where one is empty.",
    ),
]


def _require_text_of_moment(told: object) -> object:
    """Text that begins as a moment in ISO 8601; seconds since 1970, which Pydantic reads too, are refused."""
    if not (isinstance(told, str) and _MOMENT.match(told)):
        raise PydanticCustomError("datetime_text", "no moment")
    return told


Moment = Annotated[
    AwareDatetime,
    Field(
        ge=dt.datetime(1990, 1, 1, tzinfo=dt.UTC), lt=dt.datetime(2100, 1, 1, tzinfo=dt.UTC)
    ),  # as journeys
    BeforeValidator(_require_text_of_moment),
]


def _require_day(told: object) -> dt.date:
    """The day that ten characters of text tell; what else Pydantic reads as a date is refused."""
    try:
        day = dt.date.fromisoformat(told) if isinstance(told, str) and _DAY.fullmatch(told) else None
    except ValueError:
        day = None
    if day is None:
        raise PydanticCustomError("no_day", "no day")
    if not _FIRST_DAY <= day <= _LAST_DAY:
        raise PydanticCustomError("day_bounds", "too early or late", {"first": _FIRST_DAY, "last": _LAST_DAY})
    return day


Day = Annotated[
    dt.date,
    BeforeValidator(_require_day),
]
Count = Annotated[StrictInt, Field(le=10**9)]

ROW = {"video_id": "clip-17", "features": {"hour": 20, "placement": "feed", "watched_share": 0.61}}
PREDICTION = {
    "prediction_id": "0b7f6f0e0c4c4f7f9d3c1de2f5a1b2c3",
    "predicted": 0.0213,
    "model_version": "v000004",
    "target": "ctr",
}
OUTCOME = {
    "prediction_id": "0b7f6f0e0c4c4f7f9d3c1de2f5a1b2c3",
    "day": "2026-11-21",
    "trials": 1400,
    "events": 31,
}
PURCHASE = {
    "at": "2026-11-22T01:12:09Z",
    "clicked_at": "2026-11-21T22:40:51Z",
    "prediction_id": "0b7f6f0e0c4c4f7f9d3c1de2f5a1b2c3",
    "person": "customer-81",
    "value_micros": 49_990_000,
    "currency": "USD",
}


def _with_example(*examples: Any, extra: Literal["forbid", "allow"] = "forbid") -> ConfigDict:
    return ConfigDict(extra=extra, frozen=True, json_schema_extra={"examples": list(examples)})


class PredictRequest(BaseModel):
    """One creative, shown once."""

    model_config = _with_example(ROW)
    video_id: Text = Field(description="The creative.")
    features: Features


class Prediction(BaseModel):
    """What was predicted; it is recorded under its id, and what comes of it is told by that id."""

    model_config = _with_example(PREDICTION)
    prediction_id: str
    predicted: float = Field(ge=0, le=1, description="The chance of a click, or of a conversion.")
    model_version: str = Field(description="The champion at that moment.")
    target: Target


class BatchRequest(BaseModel):
    """Many creatives; all are predicted by one version, or none is."""

    model_config = _with_example({"rows": [ROW]})
    rows: list[PredictRequest] = Field(min_length=1)


class BatchPrediction(BaseModel):
    """As many predictions as rows were sent, in their order."""

    model_config = _with_example({"predictions": [PREDICTION]})
    predictions: list[Prediction]


class CheckRequest(BaseModel):
    """Why to look at the model."""

    model_config = _with_example({"trigger": "daily", "force": False})
    trigger: Trigger = Field(default="manual", description="Who calls for it; recorded.")
    force: StrictBool = Field(
        default=False, description="Train a challenger even where nothing calls for it."
    )


class CheckReply(BaseModel):
    """What came of a look at the model: `prediction.retraining.RetrainReply`."""

    model_config = _with_example(REPLY, extra="allow")
    status: Status
    reasons: list[dict[str, Any]] = Field(description="`prediction.triggers.Reason`, for machines.")
    figures: dict[str, Any] = Field(description="That it is based on, each beside its noise floor.")
    improvement: dict[str, Any] | None = Field(
        description="r2, mae, logloss, normalised_entropy: {before, after, delta}; null: nothing compared."
    )
    champion: str | None = Field(description="Version that serves now.")
    challenger: str | None = Field(description="Version that was trained or judged.")
    trigger: str
    run_id: str
    started: dt.datetime
    wall_s: float
    message: str = Field(description="For people; of an error, what was wrong and what to do.")


class Stats(BaseModel):
    """How right predictions were, how much there is to learn from, what ran: `Retrainer.stats`."""

    model_config = ConfigDict(extra="allow")
    as_of: dt.datetime = Field(description="The moment these figures are of.")
    source: str = Field(description="Where they are from.")


class ModelInfo(BaseModel):
    """The models that have a name, with their manifests: `Retrainer.model_info`; null where there is none."""

    model_config = ConfigDict(extra="allow")
    champion: dict[str, Any] | None
    challenger: dict[str, Any] | None
    previous: dict[str, Any] | None


class PurchaseEvent(BaseModel):
    """A purchase. Its id is the header `webhook-id`."""

    model_config = _with_example(PURCHASE)
    at: Moment = Field(
        description=f"When it happened; at most {CLOCK_SKEW_S} s ahead of the service's clock."
    )
    clicked_at: Moment | None = Field(
        default=None, description="The click it is credited to; null: not known."
    )
    prediction_id: Text | None = Field(default=None, description="Served at that click; null: not known.")
    person: Text | None = Field(
        default=None,
        description="Any id of the journey database: the purchase enters that journey; null: none.",
    )
    value_micros: StrictInt = Field(
        default=0, ge=0, le=2**53 - 1, description="Millionths of the unit of `currency`."
    )
    currency: Annotated[str, Field(pattern=CURRENCY)] = Field(default="USD", description="ISO 4217.")


class Outcome(BaseModel):
    """What came of a prediction on one day; told again, the newest telling counts."""

    model_config = _with_example(OUTCOME)
    prediction_id: Text = Field(description="As it was served.")
    day: Day = Field(description="UTC; of conversions, that of the click. It must have begun.")
    trials: Count = Field(ge=1, description="Impressions; of conversions, clicks.")
    events: Count = Field(ge=0, description="Clicks, or conversions; at most as many as trials.")


class OutcomesRequest(BaseModel):
    """Outcomes; all are kept, or none is."""

    model_config = _with_example({"outcomes": [OUTCOME]})
    outcomes: list[Outcome] = Field(min_length=1)


class OutcomesReply(BaseModel):
    """What became of them: `prediction.accuracy.tell_outcomes`."""

    model_config = _with_example({"told": 1, "new": 1, "restated": 0})
    told: int = Field(ge=0, description="Predictions and days that were told of.")
    new: int = Field(ge=0, description="Of these, told for the first time.")
    restated: int = Field(ge=0, description="Of these, in place of an earlier telling.")


class EventReply(BaseModel):
    """The event is recorded; told again, it changes nothing."""

    model_config = _with_example(
        {"queued": True, "reason": "new", "waiting": 12, "differs": []},
        {"queued": False, "reason": "differs", "waiting": 12, "differs": ["value_micros"]},
    )
    queued: bool = Field(description="Whether it waits for a look at the model because of this call.")
    reason: Literal["new", "known", "differs"] = Field(
        description="`known`: told before; `differs`: told before, otherwise, and what was told first stands."
    )
    waiting: int = Field(ge=0, description="Events in the queue.")
    differs: list[str] = Field(
        description="Fields that are kept otherwise; `journey` of a new event: the journey database has it"
        " otherwise, of an import or of a telling that was cut short. What is kept stands."
    )


class Health(BaseModel):
    """The service answers."""

    model_config = _with_example({"status": "ok", "version": "0.1.0", "model": "v000004"})
    status: Literal["ok"]
    version: str
    model: str | None = Field(description="Version that serves; null: there is none yet.")
