"""What the report's sections share: the data, the colours, the figures drawn so far, small pieces of HTML."""

from collections.abc import Callable, Mapping, Sequence
from html import escape
from typing import Any

from gaelp.core.errors import BadInput
from gaelp.evaluation import report_charts as charts
from gaelp.evaluation import report_tables as tables
from gaelp.evaluation.leaderboard import REFERENCES, format_interval, ranked

Data = dict[str, Any]


class NoData(Exception):
    """A section has nothing to show; the message is the reason its reader is given."""


class Page:
    """The data, the colours all sections share, and the figures drawn so far."""

    def __init__(self, data: Data) -> None:
        self.data = data
        self.figures: dict[str, charts.Figure] = {}
        board = data.get("leaderboard") or {}
        policies = [*(board.get("policies") or {}), *_keys(data, "spend_plan"), *_keys(data, "spend_by_day")]
        rows = [*_rows(data, "channels"), *_rows(data, "prices")]
        self.colours = charts.Colours(policies, [str(row["channel"]) for row in rows if "channel" in row])

    def facts(self) -> str:
        """What the run was, and the best policy's figures as tiles."""
        given = {name: self.data.get(name) for name in ("market", "created", "commit", "seed", "command")}
        items = "".join(
            f"<div><dt>{name}</dt><dd{' class=code' if name in ('command', 'commit') else ''}>"
            f"{escape(str(value))}</dd></div>"
            for name, value in given.items()
            if value not in (None, "")
        )
        return f"<dl>{items}</dl>" if items else ""

    def summary(self) -> str:
        """The sentences, over the best policy's main figures."""
        sentences = self.data.get("summary") or []
        text = "".join(f"<li>{escape(str(sentence))}</li>" for sentence in sentences)
        return self._tiles() + (f"<ul class=summary>{text}</ul>" if text else "")

    def _tiles(self) -> str:
        board = self.data.get("leaderboard") or {}
        if not board.get("policies"):
            return ""
        best = min(ranked(board), key=REFERENCES.__contains__)  # first of those that do not see the truth
        shown = {
            "incremental_profit_usd": "incremental profit per world",
            "incremental_cac_usd": "incremental CAC",
            "incremental_roas": "incremental ROAS",
            "spend_share": "of the budget spent",
        }
        tiles = f"<div class=tile><b>{escape(best)}</b><span>highest mean incremental profit</span></div>"
        for metric, caption in shown.items():
            interval = tables.as_interval(board["policies"][best].get(metric))
            value, _, ends = format_interval(interval, metric, separator="\n").partition("\n")
            tiles += f"<div class=tile><b>{value}</b><small>{ends}</small><span>{caption}</span></div>"
        return f'<div class=tiles style="--mark:var(--{self.colours.policy(best)})">{tiles}</div>'

    def chart(self, figure: charts.Figure, alt: str, heading: str = "") -> str:
        """A place for a figure, which the page's script draws when it is opened."""
        name = f"chart-{len(self.figures) + 1}"
        self.figures[name] = figure
        height = figure["layout"]["height"]
        return (
            f'<div class=panel>{heading}<div class=chart id="{name}" role=img aria-label="{escape(alt)}" '
            f'style="min-height:{height}px"></div></div>'
        )

    def section(self, name: str, *needed: str) -> Any:
        """A section that holds all that is needed; raises `NoData` with the reason where it does not."""
        given = self.data.get(name)
        if isinstance(given, Mapping) and "no_data" in given:
            raise NoData(str(given["no_data"]))
        if not given:
            raise NoData(f"the run recorded nothing under “{name}”.")
        lacking = [key for key in needed if not has_values(given.get(key))]
        if lacking:
            raise NoData(f"“{name}” came without values for {' and '.join(lacking)}.")
        return given

    def origin(self, policy: bool = True) -> str:
        """Where simulated figures come from: which policy's run, where one is meant, and which seed."""
        keys = ("policy", "seed", "commit") if policy else ("seed", "commit")
        known = [f"{key} {self.data[key]}" for key in keys if self.data.get(key) not in (None, "")]
        return "simulation" + (f" ({', '.join(known)})" if known else "")


def reading(sentence: str) -> str:
    """What to look at in a section."""
    return f"<p class=reading>{escape(sentence)}</p>"


def source(text: str, start: str = "Source: ") -> str:
    """Where a section's figures come from."""
    return f"<p class=source>{start}{escape(text.rstrip('.'))}.</p>"


def or_no_data(build: Callable[[], str]) -> str:
    """What `build` returns, or the reason why it has nothing to show."""
    try:
        return build()
    except NoData as reason:
        return f"<p class=nodata><b>No data</b>: {escape(str(reason))}</p>"


def _keys(data: Data, name: str) -> list[str]:
    section = data.get(name) or {}
    return [] if "no_data" in section else list(section)


def _rows(data: Data, name: str) -> Sequence[Data]:
    section = data.get(name) or []
    return [] if isinstance(section, Mapping) else section


def has_values(value: Any) -> bool:
    """Whether there is anything to draw: a list of nothing but None has nothing."""
    if isinstance(value, list):
        return any(item is not None for item in value)
    return bool(value)


def columns(what: str, section: Mapping[str, Any], *names: str, optional: tuple[str, ...] = ()) -> list[Any]:
    """The named columns, all as long as the first; optional ones may be missing (None).

    Args:
        what: the section's name for messages.
        section: where the columns are.
        names: columns that must be there; `NoData` where one has no values.
        optional: columns that may be missing.
    """
    lacking = [name for name in names if not has_values(section.get(name))]
    if lacking:
        raise NoData(f"“{what}” came without values for {' and '.join(lacking)}.")
    found = {name: section.get(name) for name in (*names, *optional)}
    length = len(section[names[0]])
    for name, column in found.items():
        if column is not None and len(column) != length:
            raise BadInput(
                f"{what}.{name}",
                f"{len(column)} values",
                f"must have {length} values like {names[0]}",
                "Leave the section out, or give it as {'no_data': 'why'}, where the run has no values.",
            )
    return list(found.values())
