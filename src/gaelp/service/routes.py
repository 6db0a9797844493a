"""The paths of the service."""

import logging
import uuid
from collections.abc import Sequence
from typing import Annotated, Any

from fastapi import APIRouter, Header, Request, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import ValidationError
from pydantic_core import to_json

from gaelp import __version__
from gaelp.core.errors import BadInput
from gaelp.service.bodies import (
    BatchPrediction,
    BatchRequest,
    CheckReply,
    CheckRequest,
    EventReply,
    Health,
    ModelInfo,
    OutcomesReply,
    OutcomesRequest,
    Prediction,
    PredictRequest,
    PurchaseEvent,
    Stats,
)
from gaelp.service.complaints import ID, SECONDS
from gaelp.service.errors import Unavailable, described
from gaelp.service.state import MayPredict, MayRead, MayRetrain, MaySendEvents, Service, service_of
from gaelp.service.webhook import verify

router = APIRouter()
_JSON = "application/json"
_LOCKED = 409
log = logging.getLogger("gaelp.service")


@router.post(
    "/api/ml/predict",
    response_model=Prediction,
    responses=described(400, 401, 403, 409, 413, 422, 503),
    summary="Predict for one creative",
)
async def predict(request: Request, _: MayPredict, asked: PredictRequest) -> Response:
    """The champion's chance of a click or a conversion; recorded with version and features."""
    service = service_of(request)
    version, chances = service.predict([asked.features])
    return Response(to_json(_told(service, [asked], version, chances)[0]), media_type=_JSON)


@router.post(
    "/api/ml/predict/batch",
    response_model=BatchPrediction,
    responses=described(400, 401, 403, 409, 413, 422, 503),
    summary="Predict for many creatives",
)
async def predict_batch(request: Request, _: MayPredict, asked: BatchRequest) -> Response:
    """As for one, all by one version."""
    service = service_of(request)
    _refuse_more("rows", len(asked.rows), service)
    rows = [each.features for each in asked.rows]
    version, chances = await run_in_threadpool(service.predict, rows)
    told = {"predictions": _told(service, asked.rows, version, chances)}
    return Response(to_json(told), media_type=_JSON)


@router.post(
    "/api/ml/check-retrain",
    response_model=CheckReply,
    responses={
        **described(400, 401, 403, 413, 422, 429, 503),
        _LOCKED: {"model": CheckReply, "description": "Status `locked`: another run is under way."},
    },
    summary="Look at the model, and retrain it if need be",
)
async def check_retrain(
    request: Request,
    caller: MayRetrain,
    asked: CheckRequest | None = None,
    idempotency_key: Annotated[
        str | None,
        Header(
            min_length=1,
            max_length=100,
            pattern=ID,
            description="The same key again gets the recorded reply of the first run.",
        ),
    ] = None,
) -> Response:
    """Answers when the run is over, which may take minutes; it goes on if the caller leaves."""
    service = service_of(request)
    why = asked or CheckRequest()
    told = await service.ask(
        "check",
        most=service.settings.max_waiting,
        limit_s=service.settings.retrain_limit_s,
        trigger=why.trigger,
        force=why.force,
        who=f"api:{caller.name}",
        now=service.now(),
        request_id=idempotency_key,
    )
    count_run(service, told)
    return JSONResponse(told, _LOCKED if told["status"] == "locked" else 200)


def count_run(service: Service, told: dict[str, Any]) -> None:
    """Count a run by what came of it."""
    service.metrics.runs.labels(told["trigger"], told["status"]).inc()
    service.metrics.run_seconds.inc(told["wall_s"])


@router.get(
    "/api/ml/stats",
    response_model=Stats,
    responses=described(401, 403, 429, 503),
    summary="How right predictions were, and what ran",
)
async def stats(request: Request, _: MayRead) -> Response:
    """Accuracy of the look-back beside its noise floors, samples, last runs, queue."""
    service = service_of(request)
    now = service.now()
    told = await service.ask("stats", most=service.settings.max_waiting, now=now)
    return JSONResponse({"as_of": now, "source": "prediction_records, prediction_comparisons", **told})


@router.get(
    "/api/ml/model-info",
    response_model=ModelInfo,
    responses=described(401, 403, 429, 503),
    summary="Champion, challenger and the champion before",
)
async def model_info(request: Request, _: MayRead) -> Response:
    """Each with its lineage and manifest."""
    service = service_of(request)
    return JSONResponse(await service.ask("model_info", most=service.settings.max_waiting))


@router.post(
    "/api/ml/outcomes",
    status_code=202,
    response_model=OutcomesReply,
    responses=described(400, 401, 403, 413, 422, 429, 503),
    summary="Tell what came of predictions",
)
async def outcomes(request: Request, _: MaySendEvents, asked: OutcomesRequest) -> Response:
    """Day by day, and again when the platform restates it; the loop learns from it and judges by it."""
    service = service_of(request)
    _refuse_more("outcomes", len(asked.outcomes), service)
    await service.recorder.flush()  # what was served a moment ago is known, too
    rows = [each.model_dump() for each in asked.outcomes]
    now = service.now()
    told = await service.ask("outcomes", most=service.settings.max_events_waiting, rows=rows, now=now)
    for result in ("new", "restated"):
        service.metrics.outcomes.labels(result).inc(told[result])
    return JSONResponse(told, 202)


_EVENT_SCHEMA = PurchaseEvent.model_json_schema()
_EXAMPLE = _EVENT_SCHEMA.pop("examples")[0]


@router.post(
    "/api/events/purchase",
    status_code=202,
    response_model=EventReply,
    responses=described(400, 401, 403, 413, 422, 429, 503),
    summary="Tell of a purchase",
    openapi_extra={
        "requestBody": {
            "required": True,
            "content": {_JSON: {"schema": _EVENT_SCHEMA, "example": _EXAMPLE}},
        }
    },
)
async def purchase(
    request: Request,
    _: MaySendEvents,
    webhook_id: Annotated[
        str,
        Header(
            min_length=1,
            max_length=200,
            pattern=ID,
            description="The event's id; told again, it changes nothing.",
        ),
    ],
    webhook_timestamp: Annotated[
        str, Header(pattern=SECONDS, description="When it was sent, seconds since 1970 began.")
    ],
    webhook_signature: Annotated[
        str,
        Header(
            min_length=1,
            max_length=4000,
            description="`v1,` and base64 of HMAC-SHA256 over `ID.TIMESTAMP.BODY`; several apart by spaces.",
        ),
    ],
) -> Response:
    """Recorded and answered at once; many events lead to one retraining."""
    service = service_of(request)
    body = await request.body()
    if not service.secrets:
        raise Unavailable("No secret of webhooks is set.")
    now = service.clock()
    try:
        verify(
            service.secrets,
            webhook_id,
            webhook_timestamp,
            webhook_signature,
            body,
            now_s=now.timestamp(),
            window_s=service.settings.replay_window_s,
        )
    except BadInput:
        service.metrics.events.labels("bad_signature").inc()
        raise
    try:
        event = PurchaseEvent.model_validate_json(body)
    except ValidationError as error:
        service.metrics.events.labels("bad_body").inc()
        raise RequestValidationError(
            [{**each, "loc": ("body", *each["loc"])} for each in error.errors(include_url=False)]
        ) from None
    given = {"now": service.now(), "event_id": webhook_id, **event.model_dump()}
    told = await service.ask("signal", most=service.settings.max_events_waiting, **given)
    service.metrics.events.labels(told["reason"]).inc()
    if told["differs"]:
        log.warning(
            "purchase %s is kept otherwise (%s), which stands", webhook_id, ", ".join(told["differs"])
        )
    return JSONResponse(told, 202)


@router.get("/health", response_model=Health, summary="Whether the service answers")
async def health(request: Request) -> Response:
    """Needs no key."""
    told = {"status": "ok", "version": __version__, "model": service_of(request).version()}
    return JSONResponse(told)


@router.get(
    "/metrics",
    response_class=Response,
    responses={
        200: {"content": {"text/plain": {"schema": {"type": "string"}}}, "description": "Counts."},
        **described(401, 403),
    },
    summary="Counts, for Prometheus",
)
async def metrics(request: Request, _: MayRead) -> Response:
    """In the text format of Prometheus."""
    counted = service_of(request).metrics
    return Response(counted.text(), media_type=counted.content_type)


def _refuse_more(name: str, n: int, service: Service) -> None:
    most = service.settings.max_batch
    if n > most:
        raise BadInput(name, n, f"must be at most {most}", "Send them in parts.")


def _told(
    service: Service, asked: Sequence[PredictRequest], version: str, chances: Sequence[float]
) -> list[dict[str, Any]]:
    """The answers, which are also sent to be recorded."""
    at, target = service.now(), service.target
    answers = []
    for each, chance in zip(asked, chances, strict=True):
        prediction_id = uuid.uuid4().hex
        told = {"prediction_id": prediction_id, "predicted": chance, "model_version": version}
        service.recorder.add(
            {**told, "video_id": each.video_id, "at": at, "target": target, "features": each.features}
        )
        answers.append({**told, "target": target})
    service.metrics.predictions.labels(version).inc(len(answers))
    return answers
