"""What a service is told at its start: by a TOML file and, above it, by the command line.

Secrets of webhooks also come from the environment, above the file. `DATABASE_URL` counts where neither file
nor command line names a database.
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError, field_validator

from gaelp.core.errors import BadInput, UnknownName
from gaelp.core.names import require_known
from gaelp.prediction.retrain_config import read_tables
from gaelp.service.webhook import read_secret

SECRETS_VARIABLE = "GAELP_WEBHOOK_SECRETS"
"""Secrets of webhooks, apart by spaces; with `_FILE` after it, the file that holds them."""

Seconds = Annotated[float, Field(gt=0, le=86_400)]


class Settings(BaseModel):
    """Of one service.

    Attributes:
        host, port: where it listens. Port 0: any that is free.
        database: as `journeys.database.Database`; None: the environment's `DATABASE_URL`.
        models: folder of the registry. keys: file of API keys.
        config: file these are from, whose table `[retraining]` is for `prediction.retrain_config`.
        webhook_secrets: any of them may have signed an event; more than one while a secret is changed.
        replay_window_s: how far a webhook's timestamp may be off.
        max_body_bytes, max_event_bytes: larger requests, larger events are refused.
        max_batch: rows of one batch of predictions.
        max_waiting: requests at a time that wait for the retraining process, reads and checks; more are told
            to come again. max_events_waiting: the same of purchase events.
        poll_s: how often the retraining loop is asked to do what is due.
        retrain_limit_s: a check or retraining that takes longer is killed.
        record_every_s: how often served predictions are sent to the database.
        record_queue: predictions that may wait for it; more are lost, and counted.
        grace_s: for what is under way when the service is stopped.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    host: str = "127.0.0.1"
    port: int = Field(default=8080, ge=0, le=65_535)
    database: str | None = None
    models: Path = Path("models")
    keys: Path = Path("service_keys.json")
    config: Path | None = None
    webhook_secrets: tuple[SecretStr, ...] = ()
    replay_window_s: int = Field(default=300, ge=1, le=86_400)
    max_body_bytes: int = Field(default=2_000_000, ge=1_000)
    max_event_bytes: int = Field(default=64_000, ge=1_000)
    max_batch: int = Field(default=1_000, ge=1, le=100_000)
    max_waiting: int = Field(default=32, ge=1)
    max_events_waiting: int = Field(default=5_000, ge=1)
    poll_s: Seconds = 5.0
    retrain_limit_s: Seconds = 3_600.0
    record_every_s: Seconds = 0.1
    record_queue: int = Field(default=100_000, ge=1)
    grace_s: Seconds = 20.0

    @field_validator("webhook_secrets")
    @classmethod
    def _readable(cls, given: tuple[SecretStr, ...]) -> tuple[SecretStr, ...]:
        for each in given:
            read_secret(each.get_secret_value())
        return given

    @property
    def secrets(self) -> tuple[bytes, ...]:
        """Of webhooks, as bytes."""
        return tuple(read_secret(each.get_secret_value()) for each in self.webhook_secrets)

    @classmethod
    def read(cls, config: Path | str | None = None, **given: Any) -> "Settings":
        """Put settings together.

        Args:
            config: TOML with the tables `[service]` and `[retraining]`; None: no file.
            given: settings by name that win over the file; None: not given.

        Raises:
            BadInput: the file cannot be read, or a value is not allowed.
            UnknownName: there is no such table or setting.
        """
        table = {} if config is None else read_tables(config)["service"]
        told = {**table, "config": config}
        if secrets := _secrets_of_environment():
            told["webhook_secrets"] = secrets
        for name in told:
            require_known("setting", name, cls.model_fields)
        told |= {name: value for name, value in given.items() if value is not None}
        try:
            return cls(**told)
        except ValidationError as error:
            raise _refused(error) from None


def _secrets_of_environment(environment: Mapping[str, str] = os.environ) -> tuple[str, ...]:
    file = environment.get(f"{SECRETS_VARIABLE}_FILE")
    if not file:
        return tuple(environment.get(SECRETS_VARIABLE, "").split())
    try:
        return tuple(Path(file).read_text(encoding="utf-8").split())
    except (OSError, UnicodeDecodeError):
        remedy = f"Check {SECRETS_VARIABLE}_FILE."
        raise BadInput("webhook secrets", file, "must be a file that can be read", remedy) from None


def _refused(error: ValidationError) -> BadInput:
    first = error.errors(include_url=False)[0]
    inner = first.get("ctx", {}).get("error")
    if isinstance(inner, BadInput | UnknownName):
        return inner
    name = ".".join(str(part) for part in first["loc"])
    shown = "(hidden)" if "secret" in name else first["input"]
    said = first["msg"][:1].lower() + first["msg"][1:]
    return BadInput(name, shown, said, "Correct the setting; docs/reference/service.md tells of each.")
