"""Replications as one self-contained HTML page: claim, figure, table and what differs for each finding."""

import os
from collections.abc import Mapping
from functools import partial
from html import escape
from typing import Any

from gaelp.core.files import write_text_atomic
from gaelp.core.plain import plain
from gaelp.evaluation import report_tables as tables
from gaelp.evaluation.replications.answer import Answer
from gaelp.evaluation.report import assembled
from gaelp.evaluation.report_page import Page, or_no_data, reading, source


def render(head: Mapping[str, Any], answers: Mapping[str, Answer], flown: Mapping[str, str]) -> str:
    """Write the page.

    Args:
        head: as `report.report_head` gives it, and `summary`: sentences.
        answers: by finding's name. flown: by finding's name, what was flown, in words.

    Returns:
        A whole HTML document; drawing code, styles and figures are inside.
    """
    page = Page(plain(dict(head)))
    body = "".join(
        f'<section id="{name}"><h2>{escape(answer.title)}</h2>'
        f"{or_no_data(partial(_section, page, answer, flown[name]))}</section>"
        for name, answer in answers.items()
    )
    links = "".join(f'<a href="#{name}">{name}</a>' for name in answers)
    return assembled(page, str(head.get("title", "Replications")), links, body)


def write(
    path: str | os.PathLike[str],
    head: Mapping[str, Any],
    answers: Mapping[str, Answer],
    flown: Mapping[str, str],
) -> None:
    """Render and write the page whole or not at all; see `render`."""
    write_text_atomic(path, render(head, answers, flown))


def _section(page: Page, answer: Answer, flown: str) -> str:
    return (
        reading(f"The paper: {answer.claim}")
        + _sentences("In these worlds", answer.found)
        + page.chart(answer.figure, answer.caption, f"<h3>{escape(answer.caption)}</h3>")
        + tables.table(["", *answer.columns], [_cells(answer, i) for i in range(len(answer.rows))])
        + _sentences("What differs from the paper", answer.differs)
        + source(f"{answer.paper}. Simulation: {flown}; 95 % BCa intervals over worlds")
    )


def _cells(answer: Answer, i: int) -> list[str]:
    row = answer.rows[i]
    cells = [row.written(column, "\n").split("\n") for column in answer.columns]
    shown = [escape(cell[0]) + "".join(f"<small>{escape(end)}</small>" for end in cell[1:]) for cell in cells]
    return [escape(row.name), *shown]


def _sentences(heading: str, sentences: Any) -> str:
    items = "".join(f"<li>{escape(sentence)}</li>" for sentence in sentences)
    return f"<h3>{escape(heading)}</h3><ul class=summary>{items}</ul>"
