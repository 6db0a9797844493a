"""Run the application on a port until a signal ends it."""

import asyncio
import gc
import json
import logging
import signal
import socket
import sys
from types import FrameType

import uvicorn

from gaelp.core.errors import BadInput, GaelpError
from gaelp.service.app import create_app
from gaelp.service.settings import Settings
from gaelp.service.state import Service

_LOOPBACK = ("127.0.0.1", "::1", "localhost")
_BACKLOG = 2048
_SWITCH_S = 0.0005  # a thread that works beside the requests gives way so often
_ANSWERING_S = 5.0  # for requests whose work was just ended


def run(settings: Settings) -> None:
    """Serve until SIGTERM or SIGINT; what is under way is finished, what was served is recorded.

    Args:
        settings: of the service.

    Raises:
        BadInput: the address is taken, or a setting, the database or the keys cannot be used.
    """
    app = create_app(settings)
    service: Service = app.state.service
    holding = [key for key in service.keys.keys() if key.revoked is None]
    if settings.host not in _LOOPBACK and not holding:
        allowed = "must be a loopback address while there is no key"
        raise BadInput("host", settings.host, allowed, "Make a key by `gaelp serve keys add`.")
    listener = _listen(settings)
    _log_to_stderr()
    config = uvicorn.Config(
        app,
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=int(settings.grace_s + _ANSWERING_S),
    )
    server_log = logging.getLogger("uvicorn.error")

    def is_news(_: logging.LogRecord) -> bool:
        return app.state.failure is None  # what failed is raised below, in one sentence

    server_log.addFilter(is_news)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _ignore)  # uvicorn raises it once more when all is done
    sys.setswitchinterval(_SWITCH_S)
    try:
        asyncio.run(_Server(config, service).serve(sockets=[listener]))
    except SystemExit:  # its way to say that the application did not start
        raise app.state.failure or GaelpError("The service did not start; its log says why.") from None
    finally:
        server_log.removeFilter(is_news)
        listener.close()


class _Server(uvicorn.Server):
    """Says where it listens, and ends a retraining that outlasts the grace."""

    def __init__(self, config: uvicorn.Config, service: Service) -> None:
        super().__init__(config)
        self._service = service
        self._loop: asyncio.AbstractEventLoop | None = None

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        self._loop = asyncio.get_running_loop()
        await super().startup(sockets)
        gc.collect()
        gc.freeze()  # what was loaded stays; later collections need not look at it
        assert sockets
        host, port = sockets[0].getsockname()[:2]
        shown = f"[{host}]" if ":" in host else host
        print(f"listening on http://{shown}:{port}", file=sys.stderr, flush=True)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        super().handle_exit(sig, frame)
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._end_in_time)

    def _end_in_time(self) -> None:
        assert self._loop is not None
        self._loop.call_later(self._service.settings.grace_s, self._service.end_checks)


def _listen(settings: Settings) -> socket.socket:
    try:
        found = socket.getaddrinfo(settings.host, settings.port, type=socket.SOCK_STREAM)
        listener = socket.create_server(found[0][4][:2], family=found[0][0], backlog=_BACKLOG)
        # asyncio sets it on sockets that name their protocol, which these do not: 40 ms an answer without it
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return listener
    except OSError as error:
        where = f"{settings.host}:{settings.port}"
        allowed = f"must be an address to listen on: {error.strerror}"
        raise BadInput("host and port", where, allowed, "Choose another one.") from None


class _Lines(logging.Formatter):
    """One JSON object a line."""

    def format(self, record: logging.LogRecord) -> str:
        told = {
            "at": self.formatTime(record, "%Y-%m-%dT%H:%M:%S"),
            "level": record.levelname.lower(),
            "from": record.name,
            "said": record.getMessage(),
        }
        if record.exc_info:
            told["trace"] = self.formatException(record.exc_info)
        return json.dumps(told)


def _log_to_stderr() -> None:
    handler = logging.StreamHandler()
    handler.setFormatter(_Lines())
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)
    logging.getLogger("gaelp").setLevel(logging.INFO)


def _ignore(_number: int, _frame: FrameType | None) -> None:
    pass
