"""A heat map around zero, for the pages of `gaelp regret` and `gaelp understand`."""

from typing import Any

import numpy as np

from gaelp.evaluation import report_charts as charts


def heat_map(x: Any, y: Any, z: Any, *, title: str, tick: str, hover: str) -> charts.Figure:
    """Cells in blue above zero and red below it, as strong as they are far from it.

    Args:
        x, y: (n_columns,) and (n_rows,) places or names. z: (n_rows, n_columns).
        title: of the colours, with the format of its `tick` marks. hover: template of a cell's words.
    """
    most = float(np.abs(np.asarray(z)).max()) or 1.0
    cells = {
        "type": "heatmap",
        "x": x,
        "y": y,
        "z": z,
        "zmin": -most,
        "zmax": most,
        "colorscale": [[0.0, "@bad"], [0.5, "@ground"], [1.0, "@p0"]],
        "colorbar": {
            "title": {"text": title, "font": {"size": 11, "color": "@muted"}},
            "tickfont": {"color": "@muted"},
            "tickformat": tick,
            "thickness": 12,
            "outlinewidth": 0,
        },
        "hovertemplate": f"{hover}<extra></extra>",
    }
    return {"data": [cells], "layout": charts.layout_of(380, showlegend=False, margin={"t": 8})}
