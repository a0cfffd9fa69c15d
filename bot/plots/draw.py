"""The child that draws one picture: a JSON request on stdin, a PNG on stdout, `python -m bot.plots.draw`.

The only module of the bot that may import matplotlib, and only inside its functions: nobody imports this module, it is
run as a process of its own that ends with its picture, so that the bot stays light.
"""

from __future__ import annotations

import io
import json
import os
import sys
from typing import Any

WIDTH = 1000
"""Pixels. A phone shows it 400 or fewer wide, so nothing is written smaller than 22."""
PAPER, INK, GRID = "#f2f3f5", "#1e1f22", "#c9ccd3"
"""An opaque ground of its own: the same picture is legible on Discord's dark (#313338) and light (#ffffff) one."""
LONGEST = 20
"""Characters of a label's name."""
DOTS_PER_INCH = 72
"""So that a point is a pixel."""
MARGIN = 14
"""Pixels."""
ROOM = 0.68 * WIDTH
"""Pixels that the names at the side leave for the cells, about."""
LETTER = 0.62
"""Width of a letter by the size of its font, about."""


def main() -> None:
    """Reads a request, writes the picture. Gives way to everything else on this machine."""
    os.nice(10)
    request = json.load(sys.stdin)
    sys.stdout.buffer.write(confusion(request["labels"], request["counts"]))


def confusion(labels: list[str], counts: list[list[int]]) -> bytes:
    """A confusion matrix as PNG: a row for each right label, coloured by shares of the row, with the counts."""
    import matplotlib

    # Names are shown as they are: a "$" begins no formula.
    font = 30 if len(labels) <= 8 else 26 if len(labels) <= 15 else 22
    matplotlib.rcParams.update({"text.parse_math": False, "font.size": font, "axes.edgecolor": GRID})
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    names = [name if len(name) <= LONGEST else name[: LONGEST - 1] + "…" for name in labels]
    longest = LETTER * font * max(map(len, names))
    upright = longest > ROOM / len(names)
    height = max(300, 2 * font * len(names)) + (longest if upright else font) + 3 * font
    margin = ConstrainedLayoutEngine(w_pad=MARGIN / DOTS_PER_INCH, h_pad=MARGIN / DOTS_PER_INCH)
    inches = (WIDTH / DOTS_PER_INCH, height / DOTS_PER_INCH)
    figure = Figure(inches, dpi=DOTS_PER_INCH, facecolor=PAPER, layout=margin)
    axes = figure.subplots()
    _cells(axes, counts)
    _names(axes, names, upright)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    return buffer.getvalue()


def _cells(axes: Any, counts: list[list[int]]) -> None:
    """Empty cells stay paper, so that every mistake is seen. Cividis is uniform, also to colour-blind eyes."""
    import numpy as np
    from matplotlib import colormaps

    table = np.array(counts, float)
    shares = table / np.maximum(table.sum(axis=1, keepdims=True), 1)
    colours = colormaps["cividis_r"]
    axes.set_facecolor(PAPER)
    axes.imshow(np.ma.masked_equal(shares, 0), cmap=colours, vmin=0, vmax=1, aspect="auto")
    for (right, answer), count in np.ndenumerate(table):
        if count:
            red, green, blue, _ = colours(shares[right, answer])
            # Rec. 709 luma: dark ink on light cells, light ink on dark ones.
            ink = INK if 0.2126 * red + 0.7152 * green + 0.0722 * blue > 0.45 else "white"
            axes.text(
                answer, right, f"{count:.0f}", ha="center", va="center", color=ink, size=_fitting(len(counts), count)
            )


def _fitting(size: int, count: float) -> float:
    """Font size at which a count fits into its cell, whose width is what the names leave of the picture."""
    return min(30.0, 0.9 * ROOM / size / LETTER / max(2, len(f"{count:.0f}")))


def _names(axes: Any, names: list[str], upright: bool) -> None:
    axes.set_xticks(range(len(names)), names, rotation=90 if upright else 0)
    axes.set_yticks(range(len(names)), names)
    axes.set_xticks([place + 0.5 for place in range(len(names) - 1)], minor=True)
    axes.set_yticks([place + 0.5 for place in range(len(names) - 1)], minor=True)
    axes.grid(which="minor", color=GRID, linewidth=1)
    axes.tick_params(which="both", length=0, colors=INK)
    axes.set_xlabel("answered", color=INK, weight="bold", labelpad=MARGIN)
    axes.set_ylabel("right label", color=INK, weight="bold", labelpad=MARGIN)


if __name__ == "__main__":
    main()
