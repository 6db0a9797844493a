"""What the routes of one application share, and who may use them."""

import datetime as dt
import logging
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any

from fastapi import Request, Security
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer, SecurityScopes

from gaelp.prediction.predictor import NoChampion, Predictor
from gaelp.service.errors import Busy, NoKey, NoModel, NotAllowed, Unavailable
from gaelp.service.keys import ApiKey, KeyFile
from gaelp.service.metrics import Metrics
from gaelp.service.recorder import Recorder
from gaelp.service.retrainer import RetrainerProcess
from gaelp.service.settings import Settings

Clock = Callable[[], dt.datetime]
_SHORT_S = 150.0  # longer than the database waits for another writer
log = logging.getLogger("gaelp.service")


@dataclass
class Service:
    """Of one application.

    Attributes:
        settings: as given. clock: tells the present moment, with its zone.
        target: what the models predict, `ctr` or `cvr`.
        keys, metrics, retrainer, recorder, predictor: its parts.
        secrets: of webhooks. waiting: requests by kind that wait for the retraining process now.
    """

    settings: Settings
    clock: Clock
    target: str
    keys: KeyFile
    metrics: Metrics
    retrainer: RetrainerProcess
    recorder: Recorder
    predictor: Predictor
    waiting: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.secrets = self.settings.secrets
        self._logged: str | None = None
        self._logging = threading.Lock()  # batches are predicted in threads

    def now(self) -> str:
        """The present moment, as text."""
        return self.clock().astimezone(dt.UTC).isoformat()

    def version(self) -> str | None:
        """Name of the version that serves; None: there is none."""
        try:
            return self.predictor.version
        except NoChampion:
            return None
        finally:
            self._log_problem()

    def predict(self, rows: Sequence[Mapping[str, Any]]) -> tuple[str, Sequence[float]]:
        """As `Predictor.predict`.

        Raises:
            NoModel: there is no champion yet. Unavailable: it cannot be loaded. The rest as there.
        """
        try:
            version, chances = self.predictor.predict(rows)
        except NoChampion:
            if self.predictor.problem is not None:
                raise Unavailable("The champion cannot be loaded; the service's log says why.") from None
            remedy = "Retrain, or promote a version."
            raise NoModel("champion", None, "must be held by a version", remedy) from None
        finally:
            self._log_problem()
        return version, chances.tolist()

    def _log_problem(self) -> None:
        """Say what keeps the champion from being loaded, and that it is over: once, not at every request."""
        with self._logging:
            problem = self.predictor.problem
            if problem == self._logged:
                return
            self._logged = problem
            if problem is None:
                log.info("The trouble with the champion is over.")
            else:
                log.error("%s", problem)

    async def ask(self, job: str, *, most: int, limit_s: float = _SHORT_S, **given: Any) -> dict[str, Any]:
        """As `RetrainerProcess.ask`, for at most so many requests of a kind at a time.

        Raises:
            Busy: as many wait already. The rest as there.
        """
        waiting = self.waiting.get(job, 0)
        if waiting >= most:
            raise Busy(f"{waiting} requests wait already.")
        self.waiting[job] = waiting + 1
        try:
            return await self.retrainer.ask(job, limit_s=limit_s, **given)
        finally:
            self.waiting[job] -= 1

    def end_checks(self) -> None:
        """End checks and retrainings that are still waited for; who waits is told so."""
        if self.waiting.get("check"):
            self.retrainer.kill()


def service_of(request: Request) -> Service:
    """What the application of a request holds."""
    service: Service = request.app.state.service
    return service


_bearer = HTTPBearer(
    auto_error=False,
    scheme_name="ApiKey",
    bearerFormat="gaelp_ID_SECRET",
    description="A key of `gaelp serve keys add`, with the scope that the path needs.",
)


async def caller(
    request: Request,
    needed: SecurityScopes,
    shown: Annotated[HTTPAuthorizationCredentials | None, Security(_bearer)],
) -> ApiKey:
    """Whose key a request shows.

    Raises:
        NoKey: it shows none that holds. NotAllowed: the key lacks a scope.
    """
    found = None if shown is None else service_of(request).keys.find(shown.credentials)
    if found is None:
        remedy = "Make one by `gaelp serve keys add`, and send `Authorization: Bearer KEY`."
        raise NoKey("Authorization", None, "must show a key that holds", remedy)
    for scope in needed.scopes:
        if scope not in found.scopes:
            allowed = f"must hold the scope {scope}"
            raise NotAllowed("key", found.key_id, allowed, "Use another key, or make one with that scope.")
    return found


MayPredict = Annotated[ApiKey, Security(caller, scopes=["predict"])]
MayRetrain = Annotated[ApiKey, Security(caller, scopes=["retrain"])]
MayRead = Annotated[ApiKey, Security(caller, scopes=["read"])]
MaySendEvents = Annotated[ApiKey, Security(caller, scopes=["events"])]
