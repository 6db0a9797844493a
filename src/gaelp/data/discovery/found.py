"""What discovery found: written, read again, and asked which segment a visitor belongs to."""

import json
import math
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np

from gaelp.core.errors import BadInput
from gaelp.core.files import write_text_atomic

FORMAT, VERSION = "gaelp.discovered_patterns", 1


@dataclass(frozen=True)
class Discovered:
    """What was found.

    Attributes:
        data: the JSON, see `docs/reference/discovery.md` and `schema`.
    """

    data: dict[str, Any]

    def text(self) -> str:
        """The JSON; the same data and seed give the same bytes."""
        return json.dumps(self.data, indent=1, allow_nan=False, ensure_ascii=False) + "\n"

    def write(self, path: Path) -> None:
        """Write the JSON whole or not at all."""
        write_text_atomic(path, self.text())

    @classmethod
    def read(cls, path: Path) -> "Discovered":
        """What was written.

        Raises:
            BadInput: it is not there, no JSON, or of another format or version.
        """
        remedy = "Make it by `gaelp discover`."
        try:
            data = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise BadInput("discovered patterns", str(path), f"must be readable: {error}", remedy) from None
        told = (data.get("format"), data.get("version")) if isinstance(data, dict) else None
        if told != (FORMAT, VERSION):
            allowed = f"must be {FORMAT} of version {VERSION}"
            raise BadInput("discovered patterns", told, allowed, remedy)
        return cls(data)

    def segment_of(self, traits: dict[str, str]) -> dict[str, float]:
        """Chances that a visitor belongs to each segment, by its id.

        Args:
            traits: category by trait, of those that are known, as in the section `segments`.

        Raises:
            BadInput: there are no segments, or a trait or category is unknown.
        """
        items = self.data["segments"].get("items")
        if not items:
            remedy = "Discover in more data."
            raise BadInput("segments", self.data["segments"].get("unknown"), "must be there", remedy)
        known = items[0]["traits"]
        for trait, category in traits.items():
            if category not in known.get(trait, ()):
                allowed = f"known: {', '.join(known.get(trait, known))}"
                raise BadInput(f"traits[{trait!r}]", category, allowed, "Leave out what is not known.")
        log = np.array(
            [
                math.log(each["model_share"]) + sum(math.log(each["traits"][t][c]) for t, c in traits.items())
                for each in items
            ]
        )
        chance = np.exp(log - log.max())
        return {each["id"]: float(p) for each, p in zip(items, (chance / chance.sum()).tolist(), strict=True)}


def schema() -> dict[str, Any]:
    """The JSON Schema of `Discovered.data`."""
    text = files("gaelp.data.discovery").joinpath("schema.json").read_text(encoding="utf-8")
    found: dict[str, Any] = json.loads(text)
    return found
