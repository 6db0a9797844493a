"""The history of a training: no epoch is lost or stands twice; wandb is told the same, with no network."""

import json
import os
import socket
import struct
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from gaelp.core.errors import BadInput
from gaelp.learning.tracking import FIELDS, HISTORY, Tracker, Wandb


def history(out: Path) -> list[dict]:
    return [json.loads(line) for line in (out / HISTORY).read_text().splitlines()]


def epochs(out: Path) -> list[int]:
    return [row["epoch"] for row in history(out)]


def test_a_row_is_on_the_disk_when_write_returns_and_has_every_field(tmp_path):
    with Tracker(tmp_path) as tracker:
        for epoch in (1, 2):
            told = tracker.write({"epoch": epoch, "seconds": 4.0, "worlds": 10, "reward": 0.5 * epoch})
            assert history(tmp_path)[-1] == told
            assert list(told)[: len(FIELDS)] == list(FIELDS)
            assert told["worlds_per_second"] == 2.5 and told["incremental_cac_usd"] is None
    assert [row["reward"] for row in history(tmp_path)] == [0.5, 1.0]


def test_what_is_no_number_is_null_and_seconds_are_counted_where_nobody_tells_them(tmp_path):
    told = Tracker(tmp_path).write({"epoch": 1, "incremental_roas": float("nan"), "parts": {1: float("inf")}})
    assert history(tmp_path) == [told] and told["incremental_roas"] is None
    assert told["parts"] == {"1": None} and told["seconds"] >= 0.0 and told["worlds_per_second"] is None


def test_a_resume_goes_on_and_drops_epochs_beyond_the_checkpoint(tmp_path):
    first = Tracker(tmp_path)
    for epoch in (1, 2, 3):
        first.write({"epoch": epoch, "turn": "first"})
    again = Tracker(tmp_path, resume=True)
    assert [row["epoch"] for row in again.rows] == [1, 2, 3]
    for epoch in (3, 4):  # the checkpoint was of epoch 2
        again.write({"epoch": epoch, "turn": "second"})
    assert epochs(tmp_path) == [1, 2, 3, 4]
    assert [row["turn"] for row in history(tmp_path)] == ["first", "first", "second", "second"]


def test_a_new_run_leaves_nothing_of_an_older_one_but_only_once_it_has_a_row(tmp_path):
    for epoch in (1, 2, 3):
        Tracker(tmp_path, resume=True).write({"epoch": epoch})
    anew = Tracker(tmp_path)
    assert epochs(tmp_path) == [1, 2, 3]
    anew.write({"epoch": 1})
    assert epochs(tmp_path) == [1]


def test_a_row_of_the_same_epoch_takes_the_place_of_the_last(tmp_path):
    tracker = Tracker(tmp_path)
    tracker.write({"epoch": 1, "spend_usd": 1.0})
    tracker.write({"epoch": 1, "spend_usd": 2.0})
    tracker.write({"epoch": 2})
    assert [row["spend_usd"] for row in history(tmp_path)] == [2.0, None]


@pytest.mark.parametrize("torn", [b'{"epoch": 3, "sec', b'{"epoch": 3}', b"\xff", b"{"])
def test_a_line_torn_by_a_kill_is_dropped(tmp_path, torn):
    tracker = Tracker(tmp_path)
    tracker.write({"epoch": 1})
    tracker.write({"epoch": 2})
    with open(tmp_path / HISTORY, "ab") as file:
        file.write(torn)
    Tracker(tmp_path, resume=True).write({"epoch": 3, "whole": True})
    assert epochs(tmp_path) == [1, 2, 3] and history(tmp_path)[-1]["whole"]


def test_a_history_that_was_only_one_torn_line_begins_again(tmp_path):
    (tmp_path / HISTORY).write_text('{"epoch": 1')
    Tracker(tmp_path, resume=True).write({"epoch": 1})
    assert epochs(tmp_path) == [1]


@pytest.mark.parametrize(
    "line", ["{", "[]", '{"epoch": 1}', '{"epoch": true}', '{"epoch": "2"}', "", "\udcff"]
)
def test_a_damaged_line_within_is_told_by_its_number_and_left_alone(tmp_path, line):
    text = f'{{"epoch": 1}}\n{line}\n{{"epoch": 3}}\n'.encode(errors="surrogateescape")
    (tmp_path / HISTORY).write_bytes(text)
    with pytest.raises(BadInput, match=r"metrics\.jsonl: line 2.*an epoch above 1"):
        Tracker(tmp_path, resume=True)
    assert (tmp_path / HISTORY).read_bytes() == text
    Tracker(tmp_path).write({"epoch": 1})  # a new run asks nothing of it


def test_mirrors_get_all_rows_of_a_resumed_run_and_are_told_how_it_ended(tmp_path):
    class Listing:
        def __init__(self):
            self.rows, self.code = [], None

        def write(self, row):
            self.rows.append(row["epoch"])

        def close(self, exit_code):
            self.code = exit_code

    Tracker(tmp_path).write({"epoch": 1})
    for error, code in ((None, 0), (ValueError, 1), (KeyboardInterrupt, 130)):
        mirror = Listing()
        try:
            with Tracker(tmp_path, resume=True, mirrors=[mirror]) as tracker:
                tracker.write({"epoch": 2})
                tracker.write({"epoch": 3})
                if error:
                    raise error
        except (ValueError, KeyboardInterrupt):
            pass
        assert (mirror.rows, mirror.code) == ([1, 2, 3], code)


def test_without_a_folder_rows_are_only_remembered(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    tracker = Tracker(None)
    tracker.write({"epoch": 1})
    assert len(tracker.rows) == 1 and not list(tmp_path.iterdir())


def test_without_the_package_the_error_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(BadInput, match=r"pip install 'gaelp\[track\]'"):
        Wandb(tmp_path, {})


def wandb_records(path):
    """(kind, record) of a file of wandb, by its transaction log: LevelDB's log format in 32 KiB blocks."""
    from wandb.proto import wandb_internal_pb2

    data, at, part = path.read_bytes(), 7, b""
    assert data.startswith(b":W&B")
    while at + 7 <= len(data):
        if 32_768 - at % 32_768 < 7:
            at += 32_768 - at % 32_768
            continue
        _, size, kind = struct.unpack("<IHB", data[at : at + 7])
        part += data[at + 7 : at + 7 + size]
        at += 7 + size
        if kind in (1, 4):  # a whole record, or the last part of one
            record = wandb_internal_pb2.Record()
            record.ParseFromString(part)
            part = b""
            yield record.WhichOneof("record_type"), record


OFFLINE_RUN = """
import sys
from pathlib import Path
from gaelp.learning.tracking import Tracker, Wandb

out = Path(sys.argv[1])
with Tracker(out, mirrors=[Wandb(out, {"agent": "value", "seed": 3})]) as tracker:
    tracker.write({"epoch": 1, "seconds": 2.0, "worlds": 8, "note": "x" * 40_000})
    tracker.write({"epoch": 2, "seconds": 2.0, "worlds": 9, "versions": {"0": {"kl": 0.25}}})
    tracker.write({"epoch": 2, "seconds": 3.0, "worlds": 9, "incremental_cac_usd": 70.5})
"""


@pytest.mark.slow
@pytest.mark.skipif(not find_spec("wandb"), reason="needs wandb: pip install 'gaelp[track]'")
def test_an_offline_run_of_wandb_holds_the_rows_and_asks_no_server(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"http://127.0.0.1:{server.getsockname()[1]}"
        plain = {name: value for name, value in os.environ.items() if not name.startswith("WANDB_")}
        asked = {"WANDB_BASE_URL": address, "HTTPS_PROXY": address, "HTTP_PROXY": address}
        out = tmp_path / "mine"
        ran = subprocess.run(
            [sys.executable, "-c", OFFLINE_RUN, str(out)],
            env=plain | asked | {"HOME": str(tmp_path)},
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )
        assert (ran.returncode, ran.stdout) == (0, ""), ran.stderr
        server.setblocking(False)
        with pytest.raises(BlockingIOError):
            server.accept()
    (file,) = out.glob("wandb/offline-run-*/run-*.wandb")
    records = list(wandb_records(file))
    (run,) = (record.run for kind, record in records if kind == "run")
    assert {item.key: json.loads(item.value_json) for item in run.config.update}["seed"] == 3
    assert (run.project, run.display_name, run.run_group) == ("gaelp", "mine", "mine")
    told = []
    for kind, record in records:
        if kind == "history":
            items = ((item.key or ".".join(item.nested_key), item.value_json) for item in record.history.item)
            told.append({name: json.loads(value) for name, value in items})
    rows = history(out)
    assert [row["epoch"] for row in told] == [row["epoch"] for row in rows] == [1, 2]
    for mirrored, row in zip(told, rows, strict=True):
        known = {name: value for name, value in row.items() if value is not None}
        assert {name: mirrored[name] for name in known} == known
    (end,) = (record.exit for kind, record in records if kind == "exit")
    assert end.exit_code == 0


@pytest.mark.parametrize("resume", [False, True])
def test_a_folder_in_the_place_of_the_history_is_refused_before_anything_is_learnt(tmp_path, resume):
    (tmp_path / HISTORY).mkdir()
    with pytest.raises(BadInput, match=r"metrics\.jsonl. was .*; must be a file"):
        Tracker(tmp_path, resume=resume)
