"""A trained programmatic seat in a folder, found by its path without loading what reads journeys.

`checkpoint.json` says whose it is, its scale and the hash of `value.npz`, which `JourneyValue.save` wrote.
"""

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from gaelp.agents.seat import SeatPolicy
from gaelp.core.errors import BadInput, MismatchError
from gaelp.core.files import sha256_of
from gaelp.learning.seat_flight import SeatFlight
from gaelp.market.file import MarketFile, load
from gaelp.worlds.registry import CHECKPOINT, make_policy
from gaelp.worlds.runs import read_json

AGENT: Final = "journeys"
VALUE: Final = "value.npz"
HIGHEST_SCALE: Final = 100.0
_TRAIN = "Train one: python benchmarks/journey_seat.py --out runs/journeys; then name runs/journeys."


def seat_flight(
    make_seat: Callable[[], SeatPolicy] | None, file: MarketFile, name: str = AGENT
) -> SeatFlight:
    """A flight of a seat beside the market's committed `value`."""
    return SeatFlight(make_policy("value", file), make_seat, name)


@dataclass(frozen=True)
class TrainedSeat:
    """Makes flights of the seat in a folder, wherever it is called: it can be sent to another process.

    Attributes:
        folder: that `seat_value.write_seat` wrote. market: path of the market file.
        sha256: of what the folder's checkpoint said, the model's hash among it, when it was found.
    """

    folder: str
    market: str
    sha256: str

    def __call__(self) -> SeatFlight:
        """A fresh one.

        Raises:
            BadInput: the folder no longer holds what was found.
        """
        from gaelp.learning.journey_value import JourneyValue  # brings torch
        from gaelp.learning.seat_value import JourneySeat

        file, folder = load(self.market), Path(self.folder)
        said = read_seat(folder, file)
        if digest_of(said) != self.sha256:
            remedy = "Leave the folder alone while it is flown."
            raise BadInput("policy", self.folder, "must stay as it was found", remedy)
        value, scale = JourneyValue.load(folder / VALUE), float(said["scale"])
        return seat_flight(lambda: JourneySeat(value, scale), file)


def is_seat(name: str) -> bool:
    """Whether a policy's name means a seat: `journeys`, or a folder that holds one."""
    path = Path(name) / CHECKPOINT
    return name == AGENT or (path.is_file() and read_json(path).get("agent") == AGENT)


def trained_seat(place: str, file: MarketFile) -> TrainedSeat:
    """The seat in a folder, found and checked now.

    Raises:
        BadInput: the folder holds no seat, or a damaged one. MismatchError: it is of another market.
    """
    found = TrainedSeat(place, str(file.path), digest_of(read_seat(Path(place), file)))
    found()
    return found


def read_seat(folder: Path, file: MarketFile) -> dict[str, Any]:
    """What a seat's checkpoint says, checked; errors as `trained_seat`."""
    if not (folder / CHECKPOINT).is_file() or not is_seat(str(folder)):
        raise BadInput("policy", str(folder), "must be a folder of a journeys seat", _TRAIN)
    said = read_json(folder / CHECKPOINT)
    if said.get("market_sha256") != file.sha256:
        allowed = f"must be trained on {file.name} {file.sha256[:12]}"
        raise MismatchError("checkpoint", str(folder), allowed, "Train it on this market.")
    path, scale = folder / VALUE, said.get("scale")
    if not isinstance(scale, int | float) or isinstance(scale, bool) or not 0.0 < scale <= HIGHEST_SCALE:
        allowed = f"must be above 0 and at most {HIGHEST_SCALE:g}"
        raise BadInput("scale", scale, allowed, "Train the seat again.")
    if not path.is_file() or sha256_of(path) != said.get("value_sha256"):
        raise BadInput("policy", str(path), "must be the file it was trained with", "Train the seat again.")
    return said


def digest_of(said: dict[str, Any]) -> str:
    """SHA-256 of what a checkpoint says."""
    return hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()
