"""Write docs/reference/market.md from the market file, so that the table cannot be older than the file.

python docs/reference/build_market.py            # writes it
python docs/reference/build_market.py --check    # exits 1 where it is out of date
"""

import sys
from pathlib import Path

import numpy as np

from gaelp.market.file import MarketFile, load
from gaelp.market.parameters import PARAMETERS, axis_names

HERE = Path(__file__).parent
HEAD = """\
# The market's parameters

Made by `python docs/reference/build_market.py` from `markets/family_safety.toml`; why the market has this
shape is told in [hour.md](hour.md). Strength: **A** a measured log or randomised trial, **B** a large
vendor's benchmark, **C** a weak source, *assumed* no public measurement exists. **Solved** values were found
by `markets/solve.py` with untrained policies so that the targets below hold; all others stand as published or
as assumed, and the file's hash is frozen in `markets/SHA256SUMS`.

"""


def cells(file: MarketFile, name: str, axes: tuple[str, ...]) -> str:
    """A parameter's value in words."""
    value = file.parameters[name].value
    if value.ndim == 0:
        return f"{float(value):.5g}"
    names = axis_names(axes[0], file.segments)
    if value.ndim == 1:
        return ", ".join(f"{key} {v:.4g}" for key, v in zip(names, value, strict=True))
    rows = ["/".join(f"{v:.3g}" for v in row) for row in np.asarray(value)]
    return "; ".join(f"{key} {row}" for key, row in zip(names, rows, strict=True))


def heading(*columns: str) -> list[str]:
    """The first two rows of a table."""
    return ["| " + " | ".join(columns) + " |", "|" + "---|" * len(columns)]


def page(file: MarketFile) -> str:
    """The whole page."""
    lines = [HEAD, *heading("parameter", "what", "value", "unit", "range", "strength", "source")]
    for p in PARAMETERS:
        stated = file.parameters[p.name]
        strength = stated.strength + (", **solved**" if stated.solved else "")
        row = (
            f"`{p.name}`", p.about, cells(file, p.name, p.axes), stated.unit,
            f"{stated.low:g} to {stated.high:g}", strength, stated.source,
        )  # fmt: skip
        lines.append("| " + " | ".join(text.replace("|", "\\|") for text in row) + " |")
    lines += ["", "## Targets", "", *heading("statistic", "band", "unit", "source")]
    for t in file.targets.values():
        lines.append(f"| `{t.name}` | {t.low:g} to {t.high:g} | {t.unit} | {t.source} |")
    columns = ("name", "strategy", "strength", "prior", "price", "USD a day per 1,000 people")
    lines += ["", "## Rivals", "", *heading(*columns)]
    for r in file.rivals:
        lines.append(
            f"| {r.name} | {r.strategy} | {r.strength:g} | {r.prior:g} | {r.price_index:g} "
            f"| {r.budget_usd_per_1000:g} |"
        )
    lines += ["", "## How much held-out worlds differ", ""]
    lines += heading("parameter", "sigma of the log-normal factor")
    lines += [f"| `{name}` | {sigma:g} |" for name, sigma in file.spread.items()]
    lines += ["", "## What reaches the advertiser", "", *heading("channel", "event", "sight", "delay, hours")]
    for channel, events in file.visibility.items():
        for event, (sight, delay) in events.items():
            lines.append(f"| {channel} | {event} | {sight} | {delay:g} |")
    return "\n".join(lines) + "\n"


def main() -> int:
    """Write the page, or compare it with what is there."""
    text = page(load(HERE.parents[1] / "markets" / "family_safety.toml"))
    path = HERE / "market.md"
    if "--check" in sys.argv:
        return int(not path.is_file() or path.read_text() != text)
    path.write_text(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
