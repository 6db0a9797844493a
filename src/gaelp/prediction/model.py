"""A response model: what it scores with, how that is calibrated, and how it is kept.

A model's folder is written once and never changed:

    manifest.json       what it was trained on and by what, its figures, and the SHA-256 of every other file
    calibration.json    the map from raw to calibrated
    encoding.json, model.ubj, model.onnx    of boosted trees
    bins.json, model.npz                    of the hashed logistic regression
    members.json, 0.encoding.json, ...      of an ensemble: those of its members, by their number

`model_id` in the manifest is the SHA-256 of its other content, so the id vouches for the whole folder.
"""

import hashlib
import json
import os
import secrets
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from scipy.special import expit, logit

from gaelp.core.errors import BadInput, MismatchError
from gaelp.core.files import sync, write_bytes_atomic
from gaelp.prediction.boosting import BoostedTrees
from gaelp.prediction.calibration import Calibration
from gaelp.prediction.delay import DelayBuckets
from gaelp.prediction.examples import Columns, Examples
from gaelp.prediction.logistic import HashedLogistic
from gaelp.prediction.metrics import LEAST, Floats

FORMAT = 1
_MANIFEST, _CALIBRATION = "manifest.json", "calibration.json"


class Scorer(Protocol):
    """What turns rows into raw probabilities."""

    kind: str

    def raw(self, examples: Examples) -> Floats:
        """(n,) probabilities before calibration."""

    def files(self) -> dict[str, bytes]:
        """What to keep, by file name."""


@dataclass(frozen=True)
class Ensemble:
    """Scorers whose logits are averaged; trained alike but for their seeds, they err less together.

    Attributes:
        members: at least one.
    """

    members: tuple[Scorer, ...]

    kind = "ensemble"

    def raw(self, examples: Examples) -> Floats:
        """(n,) probabilities before calibration."""
        return mean_of_logits([member.raw(examples) for member in self.members])

    def files(self) -> dict[str, bytes]:
        """What to keep, by file name; see `from_files`."""
        kept = {
            f"{number}.{name}": data
            for number, member in enumerate(self.members)
            for name, data in member.files().items()
        }
        kinds = [member.kind for member in self.members]
        return {**kept, "members.json": json.dumps(kinds).encode()}

    @classmethod
    def from_files(cls, files: dict[str, bytes]) -> "Ensemble":
        """What `files` gave."""
        members = []
        for number, kind in enumerate(json.loads(files["members.json"])):
            mark = f"{number}."
            own = {name.removeprefix(mark): data for name, data in files.items() if name.startswith(mark)}
            members.append(SCORERS[kind].from_files(own))
        return cls(tuple(members))


def mean_of_logits(chances: Sequence[Floats]) -> Floats:
    """(n,) the probability whose logit is the mean of those of (n_models, n) probabilities."""
    kept = np.clip(np.asarray(chances, np.float64), LEAST, 1 - LEAST)
    return expit(logit(kept).mean(axis=0))


SCORERS: Mapping[str, Any] = {"xgboost": BoostedTrees, "logistic": HashedLogistic, "ensemble": Ensemble}
"""Kinds of scorer, by name."""


@dataclass(frozen=True)
class ResponseModel:
    """A trained model.

    Attributes:
        columns: of the tables it takes.
        scorer: gives raw probabilities. calibration: makes them calibrated.
        buckets: of the delay, for conversions; None: labels were final.
        manifest: what `save` adds to the folder's manifest, or the manifest that `load` read.
    """

    columns: Columns
    scorer: Scorer
    calibration: Calibration
    buckets: DelayBuckets | None = None
    manifest: Mapping[str, Any] = field(default_factory=dict)

    def predict(self, examples: Examples) -> Floats:
        """(n,) the chance of a click, or of a conversion within the horizon."""
        if self.buckets is None:
            return self._chance(examples)
        return self.buckets.within_horizon(examples, self._chance)

    def _chance(self, examples: Examples) -> Floats:
        return np.clip(self.calibration.apply(self.scorer.raw(examples)), LEAST, 1 - LEAST)


def check_new(path: Path | str) -> Path:
    """Check before the work that a model's folder can be made.

    Raises:
        BadInput: something is there already, or the place cannot be written.
    """
    target = Path(path).resolve()
    if target.exists() and not (target.is_dir() and not any(target.iterdir())):
        allowed = "must be a new or empty folder: a model is never overwritten"
        raise BadInput("out", str(path), allowed, "Name another folder.")
    parent = target.parent
    while not parent.exists():
        parent = parent.parent
    if not (parent.is_dir() and os.access(parent, os.W_OK)):
        raise BadInput("out", str(path), "must lie where you can write", "Name another folder.")
    return target


def save(model: ResponseModel, path: Path | str) -> dict[str, Any]:
    """Write a model's folder, whole or not at all.

    Args:
        model: a trained one. path: the folder, new or empty.

    Returns:
        The manifest.

    Raises:
        BadInput: as `check_new`.
    """
    target = check_new(path)
    files = {**model.scorer.files(), _CALIBRATION: _json(model.calibration.as_dict())}
    manifest = {
        **model.manifest,
        "format": FORMAT,
        "kind": model.scorer.kind,
        "columns": model.columns.as_dict(),
        "delay_buckets_hours": None if model.buckets is None else list(model.buckets.ends),
        "files": {name: hashlib.sha256(data).hexdigest() for name, data in sorted(files.items())},
    }
    manifest["model_id"] = _id(manifest)
    target.parent.mkdir(parents=True, exist_ok=True)
    neighbour = target.with_name(f".{target.name}.{secrets.token_hex(4)}")
    try:
        neighbour.mkdir()
        for name, data in {**files, _MANIFEST: _json(manifest)}.items():
            write_bytes_atomic(neighbour / name, data)
        sync(neighbour)
        os.rename(neighbour, target)  # onto nothing or an empty folder; fails if one filled it meanwhile
    finally:
        shutil.rmtree(neighbour, ignore_errors=True)
    sync(target.parent)
    return manifest


def load(path: Path | str) -> ResponseModel:
    """Read a model's folder and check every byte of it.

    Args:
        path: the folder.

    Raises:
        BadInput: it is no model's folder, or a file is missing or not as it was written.
        MismatchError: another version of this format.
    """
    folder = Path(path)
    try:
        manifest = json.loads((folder / _MANIFEST).read_bytes())
        written, kind = manifest["files"], manifest["kind"]
    except (OSError, ValueError, LookupError, TypeError):
        allowed = f"must be the folder of a model, with its {_MANIFEST}"
        raise BadInput("MODEL", str(path), allowed, "Make one with gaelp ctr train.") from None
    if manifest.get("format") != FORMAT or kind not in SCORERS:
        allowed = f"must be format {FORMAT} of kind {' or '.join(SCORERS)}"
        raise MismatchError("MODEL", f"{manifest.get('format')} {kind}", allowed, "Train it again.")
    if manifest.get("model_id") != _id(manifest):
        raise _altered(folder, _MANIFEST)
    files = {}
    for name, digest in written.items():
        try:
            files[name] = (folder / Path(name).name).read_bytes()
        except OSError:
            raise _altered(folder, name) from None
        if hashlib.sha256(files[name]).hexdigest() != digest:
            raise _altered(folder, name)
    ends = manifest["delay_buckets_hours"]
    return ResponseModel(
        Columns.from_dict(manifest["columns"]),
        SCORERS[kind].from_files(files),
        Calibration.from_dict(json.loads(files[_CALIBRATION])),
        None if ends is None else DelayBuckets(tuple(ends)),
        manifest,
    )


def _altered(folder: Path, name: str) -> BadInput:
    allowed = f"must hold {name} as it was written, by the hash in its manifest"
    return BadInput("MODEL", str(folder), allowed, "Take the model from where it is kept, or train it again.")


def _json(data: Mapping[str, Any]) -> bytes:
    return (json.dumps(data, indent=1, sort_keys=True, allow_nan=False) + "\n").encode()


def _id(manifest: Mapping[str, Any]) -> str:
    return hashlib.sha256(_json({k: v for k, v in manifest.items() if k != "model_id"})).hexdigest()
