"""The application: what answers, and what works beside it."""

import asyncio
import datetime as dt
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI
from fastapi.concurrency import run_in_threadpool
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException

from gaelp import __version__
from gaelp.core.errors import BadInput, GaelpError
from gaelp.prediction.predictor import Predictor
from gaelp.prediction.retrain_config import RetrainConfig
from gaelp.service.edge import Edge
from gaelp.service.errors import (
    Unavailable,
    described,
    on_crash,
    on_gaelp_error,
    on_http_error,
    on_invalid,
)
from gaelp.service.keys import KeyFile
from gaelp.service.metrics import Metrics
from gaelp.service.recorder import Recorder
from gaelp.service.retrainer import RetrainerProcess
from gaelp.service.routes import count_run, router
from gaelp.service.settings import Settings
from gaelp.service.state import Clock, Service

_LOOK_S = 0.5  # at the file of keys
_EVENTS = "/api/events/purchase"
_ABOUT = """
Predictions of the champion, purchases in, and the retraining loop. Every path but `/health` and this
description needs a key (`gaelp serve keys add`). Errors have one form: `error`, `value`, `allowed`, `remedy`.
An answer's `X-Request-ID` is the one that was sent, or a new one.
"""
log = logging.getLogger("gaelp.service")


def utc_now() -> dt.datetime:
    """The present moment."""
    return dt.datetime.now(dt.UTC)


def create_app(settings: Settings, *, clock: Clock = utc_now) -> FastAPI:
    """Make the application; its parts start with its lifespan.

    Args:
        settings: of the service. clock: tells the present moment, with its zone.

    Raises:
        BadInput: a setting of retraining, or the file of keys, cannot be used.
    """
    metrics = Metrics()
    keys = KeyFile(settings.keys)
    keys.refresh()
    retrainer = RetrainerProcess(settings, metrics)
    service = Service(
        settings=settings,
        clock=clock,
        target=RetrainConfig.read(settings.config).target,
        keys=keys,
        metrics=metrics,
        retrainer=retrainer,
        recorder=Recorder(retrainer, metrics, settings.record_every_s, settings.record_queue),
        predictor=Predictor(settings.models, patient=False),
    )
    app = FastAPI(
        title="GAELP",
        version=__version__,
        description=_ABOUT,
        lifespan=_lifespan,
        docs_url=None,  # these pages load their scripts from elsewhere
        redoc_url=None,
        responses=described(405),
        redirect_slashes=False,
        telemetry={"tracing": False, "metrics": False, "logs": False, "operation_spans": False},
        exception_handlers={
            GaelpError: on_gaelp_error,
            RequestValidationError: on_invalid,
            HTTPException: on_http_error,
            Exception: on_crash,
        },
    )
    app.state.service, app.state.failure = service, None
    app.include_router(router)
    most = {None: settings.max_body_bytes, _EVENTS: settings.max_event_bytes}
    paths = frozenset(app.openapi()["paths"])
    app.add_middleware(Edge, metrics=metrics, paths=paths, most=most)
    return app


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    service: Service = app.state.service
    try:
        await service.retrainer.start()
    except GaelpError as error:
        app.state.failure = error
        raise
    await run_in_threadpool(service.version)  # so that no request waits for it to be loaded
    beside = [
        asyncio.create_task(work) for work in (service.recorder.run(), _run_due(service), _look(service))
    ]
    try:
        yield
    finally:
        for task in beside:
            task.cancel()
        await asyncio.gather(*beside, return_exceptions=True)
        loop = asyncio.get_running_loop()
        end = loop.time() + service.settings.grace_s
        await service.recorder.close(service.settings.grace_s)
        await service.retrainer.stop(max(1.0, end - loop.time()))


async def _run_due(service: Service) -> None:
    """Have the loop do what is due: purchases, daily and hourly looks."""
    while True:
        await asyncio.sleep(service.settings.poll_s)
        try:
            told = await service.retrainer.ask(
                "run_due", limit_s=service.settings.retrain_limit_s, now=service.now()
            )
        except Unavailable as error:
            log.error("what is due could not be done: %s", error)
            continue
        if (reply := told["reply"]) is not None:
            count_run(service, reply)
            log.info("%s: %s (%s)", reply["trigger"], reply["status"], reply["message"])


async def _look(service: Service) -> None:
    """See keys come and go."""
    while True:
        await asyncio.sleep(_LOOK_S)
        try:
            service.keys.refresh()
        except BadInput as error:
            log.error("the keys stay as they were: %s", error)
