"""What a calibration found, as one self-contained HTML page."""

import os
from collections.abc import Mapping
from html import escape
from typing import Any

from gaelp.core.files import write_text_atomic
from gaelp.core.plain import plain
from gaelp.evaluation import report_charts as charts
from gaelp.evaluation import report_tables as tables
from gaelp.evaluation.report import assembled
from gaelp.evaluation.report_page import Page, reading, source

Found = Mapping[str, Any]


def sentences(found: Found) -> list[str]:
    """The answers in a few sentences.

    Args:
        found: as `worlds.calibration.fitting.Calibration.figures` gives it.
    """
    n_parameters, n_statistics = len(found["parameters"]), len(found["statistics"])
    n_told = n_parameters - len(found["unidentified"])
    said = [
        f"{found['days']} days of {found['people']:,} people, {found['visits']:,} visits and "
        f"{found['sales']:,} sales tell {n_told} of {n_parameters} parameters.",
        f"{len(found['misfits'])} of {n_statistics} figures lie outside of what nineteen in twenty worlds of "
        f"the calibrated market show; {0.05 * n_statistics:.1f} would by luck.",
    ]
    if outside := found.get("ad_rows_outside"):
        said.insert(1, f"{outside:,} rows of the ad report are of days outside of the data, and left out.")
    if found["unidentified"]:
        names = ", ".join(found["unidentified"])
        said.append(f"The data do not tell, and the base file's prior stands for: {names}.")
    if found["beyond_prior"]:
        names = ", ".join(found["beyond_prior"])
        said.append(f"Further out than any world of the prior, so check the base file: {names}.")
    area = found["journeys"]
    if area is not None:
        said.append(
            "A classifier tells real from simulated journeys with an area under the curve of "
            f"{area['auc']:.3f} ({area['low']:.3f} to {area['high']:.3f}); .5 would be not at all."
        )
    return said


def render(head: Mapping[str, Any], found: Found) -> str:
    """Write the page.

    Args:
        head: as `report.report_head` gives it. found: as `sentences` takes it.

    Returns:
        A whole HTML document.
    """
    page = Page(plain({**head, "summary": sentences(found)}))
    simulated = f"simulation, {found['worlds']:,} worlds of the prior"
    drawn = {
        "parameters": ("Parameters", "What the data say of each parameter", _parameters(page, found)),
        "figures": ("Figures", "Simulated beside real", _statistics(found)),
        "journeys": ("Journeys", "Whether simulated journeys can be told from real ones", _journeys(found)),
    }
    body = "".join(
        f'<section id="{name}"><h2>{title}</h2>{text}{source(simulated)}</section>'
        for name, (_, title, text) in drawn.items()
    )
    links = "".join(f'<a href="#{name}">{short}</a>' for name, (short, _, _) in drawn.items())
    return assembled(page, str(head.get("title", "Calibration")), links, body)


def write(path: str | os.PathLike[str], head: Mapping[str, Any], found: Found) -> None:
    """Render and write the page whole or not at all; see `render`."""
    write_text_atomic(path, render(head, found))


def _parameters(page: Page, found: Found) -> str:
    z = 1.645
    rows = [
        (
            name,
            {
                "mean": row["level"],
                "low": row["level"] - z * row["level_sd"],
                "high": row["level"] + z * row["level_sd"],
            },
            "p0" if row["identified"] else "sim",
        )
        for name, row in found["parameters"].items()
    ]
    figure = charts.forest(rows, x_title="level, 0 at the base file", lines={"base": 0.0})
    cells = [
        [
            escape(name.replace("_", " ")),
            escape(row["about"]),
            f"{row['base']:.3g}",
            f"{row['value']:.3g}<small>{row['low']:.3g} to {row['high']:.3g}</small>",
            f"{row['width']:.2f}",
            "" if row["identified"] else "not told",
        ]
        for name, row in found["parameters"].items()
    ]
    head = ["parameter", "what", "base", "fitted, 90 %", "width", ""]
    return (
        reading(
            "Width is the posterior's standard deviation over the prior's: near 0 the data tell the"
            " parameter, above .8 they do not, and the base file stands."
        )
        + page.chart(figure, "Level of each parameter with its interval")
        + tables.table(head, cells, text=(1, 5))
    )


def _statistics(found: Found) -> str:
    cells = [
        [
            escape(name.replace("_", " ")),
            escape(row["about"]),
            f"{row['real']:.4g}",
            f"{row['simulated']:.4g}<small>{row['low']:.4g} to {row['high']:.4g}</small>",
            f"{row['p']:.2f}",
            "misfit" if row["p"] < 0.05 else "",
        ]
        for name, row in found["statistics"].items()
    ]
    return reading(
        "Each figure of the data beside those of worlds drawn from the posterior: median, nine in ten worlds,"
        " and how often a world lies as far out."
    ) + tables.table(["figure", "what", "real", "simulated", "p", ""], cells, text=(1, 5))


def _journeys(found: Found) -> str:
    area = found["journeys"]
    if area is None:
        return '<p class="nodata"><b>No data</b>: too few people allow tracking.</p>'
    cells = [
        [
            "area under the curve",
            f"{area['auc']:.3f}<small>{area['low']:.3f} to {area['high']:.3f}</small>",
            f"{area['n_real']:,}",
            f"{area['n_simulated']:,}",
        ]
    ]
    return reading(
        "Gradient boosting is asked which journeys are real, each by trees that have not seen it. At .5 it"
        " cannot say; at 1 it always can."
    ) + tables.table(["", "95 %", "real journeys", "simulated"], cells, narrow=True)
