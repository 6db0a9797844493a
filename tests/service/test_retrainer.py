"""The way to the process that retrains, where that process does not even start."""

import asyncio

import pytest

from gaelp.service.errors import Unavailable
from gaelp.service.metrics import Metrics
from gaelp.service.retrainer import RetrainerProcess
from gaelp.service.settings import Settings


def test_a_process_that_cannot_be_started_is_unavailable_to_whoever_asks(monkeypatch, caplog):
    async def refuse(*_args, **_more):
        raise OSError(24, "Too many open files")

    monkeypatch.setattr(asyncio, "create_subprocess_exec", refuse)
    with pytest.raises(Unavailable, match="cannot be started"):
        asyncio.run(RetrainerProcess(Settings(), Metrics()).ask("run_due", limit_s=1.0, now="x"))
    assert "Too many open files" in caplog.text
