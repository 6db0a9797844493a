"""A run's report: one self-contained HTML page that needs no network.

`render` takes a dictionary whose sections are all optional. A section that is missing or
empty is shown as "No data" with the reason; a producer may give its own reason as
`{"no_data": "why"}`. Nothing is filled in. Keys (arrays may be lists or NumPy arrays, NaN
counts as undefined):

- `title market created commit seed command`: words for the head; `summary`: sentences.
- `policy`: whose run the sections from `channels` on show; `cac_target_usd ltv_usd`: reference lines of CAC.
- `leaderboard`: the `evaluate` JSON, see `gaelp.evaluation.leaderboard`; `families`: its boards by family.
- `spend_plan`: `{policy: {hour, spend_usd, plan_usd}}`, means by hour of day.
- `spend_by_day`: `{policy: {day, spend_usd, budget_usd}}`.
- `funnel`: `{stages, people}`; `sankey`: `{nodes, links: [{source, target, value}]}`.
- `lag`: `{days, share_booked, measured: [{days, share, source}], arms: [{name, weight, mean_days}]}`.
- `hour_of_week`: `{simulated, measured, source}`, 168 values from Monday 00:00 UTC.
- `prices`: `[{channel, unit, probability, simulated, measured, source}]`, quantiles.
- `rivals`: `{days, bids: {name: [...]}}`, bid multiplier × pace at the start of each day.
- `channels`: `[{channel, spend_usd, attributed_conversions, incremental_conversions,
  attributed_cac_usd, incremental_cac_usd}]`; the incremental ones as numbers or {mean, low, high}.
- `person`: `{title, lines}`; `targets`: `[{name, simulated, low, high, unit, source, ok}]`.
"""

import json
import os
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from functools import partial
from html import escape
from importlib.resources import files
from typing import Any

from gaelp.core.files import write_text_atomic
from gaelp.core.names import require_known
from gaelp.core.plain import plain
from gaelp.evaluation.report_page import Page, or_no_data
from gaelp.evaluation.report_sections import SECTIONS
from gaelp.market.file import MarketFile
from gaelp.worlds.runs import git_commit

REPORT = "report.html"
"""Its name in a run's folder."""

_HEAD = (
    "title",
    "market",
    "created",
    "commit",
    "seed",
    "command",
    "policy",
    "summary",
    "cac_target_usd",
    "ltv_usd",
)


def render(data: Mapping[str, Any], only: Sequence[str] | None = None) -> str:
    """Write the page.

    Args:
        data: the sections, see the module's docstring.
        only: the sections that a page of this kind has; None for all.

    Returns:
        A whole HTML document; drawing code, styles and figures are inside.

    Raises:
        UnknownName: if a key is no section.
        BadInput: if the arrays of a section do not fit each other.

    >>> page = render({"title": "Demo"})
    >>> "<title>Demo</title>" in page, page.count("No data")
    (True, 14)
    """
    for key in data:
        require_known("report section", key, [*_HEAD, *SECTIONS])
    shown = {name: SECTIONS[require_known("report section", name, SECTIONS)] for name in only or SECTIONS}
    page = Page(plain(data))
    body = "".join(
        f'<section id="{name}"><h2>{title}</h2>{or_no_data(partial(build, page, name))}</section>'
        for name, (_, title, build) in shown.items()
    )
    links = "".join(f'<a href="#{name}">{short}</a>' for name, (short, _, _) in shown.items())
    return assembled(page, str(page.data.get("title") or "GAELP report"), links, body)


def assembled(page: Page, title: str, links: str, sections: str) -> str:
    """A whole HTML document of a page whose sections are drawn.

    Args:
        page: with the figures of the sections. title: in plain text. links, sections: in HTML.
    """
    figures = json.dumps(plain(page.figures), allow_nan=False, separators=(",", ":"))
    parts = {
        "title": escape(title),
        "facts": page.facts(),
        "summary": page.summary(),
        "links": links,
        "sections": sections,
        "figures": _script_safe(figures),
        "plotly": _plotly_source(),
    }
    page_html = files("gaelp.evaluation").joinpath("templates/report.html").read_text(encoding="utf-8")
    for name, text in parts.items():
        page_html = page_html.replace(f"<!--{name}-->", text)
    return page_html


def write(path: str | os.PathLike[str], data: Mapping[str, Any], only: Sequence[str] | None = None) -> None:
    """Render and write the page whole or not at all.

    Args:
        path: the HTML file to make or replace.
        data, only: see `render`.

    Raises:
        BadInput: if a section cannot be drawn; nothing is written then.
    """
    write_text_atomic(path, render(data, only))


def report_head(file: MarketFile, title: str, command: str, seed: int) -> dict[str, Any]:
    """What stands above every report: the market, the command, the commit, the time."""
    return {
        "title": title,
        "market": f"{file.name} ({file.product}, LTV ${file.ltv_usd:g}), sha256 {file.sha256[:12]}",
        "created": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "commit": git_commit() or "",
        "seed": seed,
        "command": command,
        "cac_target_usd": file.cac_target_usd,
        "ltv_usd": file.ltv_usd,
    }


def _script_safe(text: str) -> str:
    """JSON that cannot end the script element it stands in."""
    return text.replace("<", "\\u003c")


def _plotly_source() -> str:
    """Plotly's own script, to stand in a page that works without a network."""
    from plotly.offline import get_plotlyjs  # 4 MB read only when a page is written

    return get_plotlyjs().replace("</script", "<\\/script")
