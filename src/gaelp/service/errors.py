"""What the service answers when it does not do what was asked, always in one form."""

from typing import Any

from fastapi import Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field
from starlette.exceptions import HTTPException

from gaelp.core.errors import BadInput, GaelpError
from gaelp.service.complaints import complaint, cut, shown
from gaelp.service.webhook import BadSignature

_SEE = "See /openapi.json for what is taken."


class NoKey(BadInput):
    """The caller showed no key that holds."""


class NotAllowed(BadInput):
    """The caller's key does not have the scope."""


class NoModel(BadInput):
    """No version is champion yet."""


class TooLarge(BadInput):
    """The request's body is larger than allowed."""


class Busy(GaelpError):
    """Too many requests wait already."""


class Unavailable(GaelpError):
    """Something the service needs does not work at present."""


STATUS: dict[type[Exception], int] = {
    NoKey: 401,
    BadSignature: 401,
    NotAllowed: 403,
    NoModel: 409,
    TooLarge: 413,
    BadInput: 422,
    Busy: 429,
    GaelpError: 503,
}
"""HTTP status by kind of error; the first kind that fits counts."""


class ErrorBody(BaseModel):
    """What was wrong, and how to mend it."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "error": "features.hour",
                    "value": "noon",
                    "allowed": "must be a number",
                    "remedy": "See /openapi.json for what is taken.",
                }
            ]
        }
    )

    error: str = Field(description="What was wrong: a field, a header, or a word such as `busy`.")
    value: str | int | float | bool | None = Field(description="What it was; null where it is not told.")
    allowed: str = Field(description="What it may be.")
    remedy: str = Field(description="What to do about it.")


def described(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """OpenAPI's responses for the statuses of errors."""
    return {status: {"model": ErrorBody, "description": _TOLD[status]} for status in sorted(statuses)}


_TOLD = {
    400: "The request cannot be read.",
    401: "No key that holds, or a signature that does not.",
    403: "The key does not have the scope.",
    404: "No such path.",
    405: "The path does not take this method.",
    409: "Not possible at present: the state of the service forbids it.",
    413: "The body is too large.",
    422: "A value that is not allowed.",
    429: "Too many requests wait already; come again.",
    503: "A part of the service does not work at present; come again.",
}


def answer(
    status: int, error: str, value: Any, allowed: str, remedy: str, headers: dict[str, str] | None = None
) -> JSONResponse:
    """An error in the service's one form."""
    body = {"error": cut(error), "value": shown(value), "allowed": allowed, "remedy": remedy}
    return JSONResponse(body, status, headers)


async def on_gaelp_error(_: Request, error: Exception) -> JSONResponse:
    """Of our own tree."""
    status = next(code for kind, code in STATUS.items() if isinstance(error, kind))
    if isinstance(error, BadInput):
        headers = {"WWW-Authenticate": "Bearer"} if isinstance(error, NoKey) else None
        return answer(status, error.name, error.value, error.allowed, error.remedy, headers)
    word = "busy" if isinstance(error, Busy) else "unavailable"
    return answer(status, word, None, str(error), "Try again later.", {"Retry-After": "5"})


async def on_invalid(request: Request, error: Exception) -> JSONResponse:
    """A request that is not as OpenAPI says; only the first complaint is told."""
    assert isinstance(error, RequestValidationError)
    if any(isinstance(each.get("input"), bytes) for each in error.errors()):  # a body not told to be JSON
        remedy = "Send the header `Content-Type: application/json`."
        return answer(
            422, "Content-Type", request.headers.get("content-type"), "must be application/json", remedy
        )
    return answer(422, *complaint(error.errors()), _SEE)


async def on_http_error(request: Request, error: Exception) -> JSONResponse:
    """Of the framework: no such path, no such method, a body that it cannot read."""
    assert isinstance(error, HTTPException)
    headers = dict(error.headers) if error.headers else None
    status = error.status_code
    if status == 404:
        return answer(status, "path", request.url.path, "must be one that the service has", _SEE, headers)
    if status == 405:
        return answer(status, "method", request.method, "must be one that the path takes", _SEE, headers)
    allowed = "must be JSON in UTF-8, not nested without end, with numbers of at most 4,000 digits"
    return answer(status, "body", None, allowed, _SEE, headers)


async def on_crash(_: Request, _error: Exception) -> JSONResponse:
    """A mistake of ours; the log has it."""
    return answer(500, "internal", None, "must not happen", "Tell us, with the request's id.")
