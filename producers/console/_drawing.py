"""How a chart of the desk looks: one hand, one accent, no decoration, and words where a legend would be.

What comes out is an SVG that any page may hold: its text stays text, in the page's own type; nothing in it is styled
inline, which the desk's content security policy forbids; and it is named and described for those who do not see it.
"""

import re
from functools import cache
from html import escape
from io import StringIO
from typing import TYPE_CHECKING, Any, Final

import numpy as np

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from numpy.typing import ArrayLike

WIDTH: Final = 400
"""In pixels, like everything here; a page may make it wider."""
INK, SOFT, LINE = "#1c2126", "#565e66", "#d9dcdf"
"""Of words, of lesser words, and of what helps the eye along: those of `desk.css`."""
ACCENT, GREY = "#1d4f73", "#808c96"
"""Of what the chart is about, and of what it is compared with; apart in lightness too, for who sees no colours."""
TEXT, SMALL = 12, 11

_FONTS: Final = "system-ui, 'Segoe UI', Roboto, 'Helvetica Neue', 'Noto Sans', sans-serif"


@cache
def _prepare() -> None:
    """Set matplotlib up, once: nothing else here draws with it, and importing it takes a second."""
    import matplotlib as mpl

    mpl.rcParams.update(
        {
            "font.family": "DejaVu Sans",  # comes with matplotlib, and is wide: whatever a page takes instead has room
            "font.size": TEXT,
            "text.color": INK,
            "text.parse_math": False,
            "svg.fonttype": "none",
            "svg.hashsalt": "rfr",
        }
    )


def sheet(height: int) -> "Figure":
    """Return an empty sheet of so many pixels."""
    _prepare()
    from matplotlib.figure import Figure

    return Figure(figsize=(WIDTH / 72, height / 72), dpi=72)  # so that a point is a pixel


def panel(on: "Figure", box: tuple[float, float, float, float], /, **limits: Any) -> "Axes":  # noqa: ANN401
    """Return a part of the sheet to draw in, without frame, ticks or ground.

    Args:
        on: the sheet.

        box: left, top, width and height, in pixels from the upper left corner.

        limits: of the numbers that it shows: `x` and `y`, and matplotlib's scales.

    """
    left, top, width, height = box
    sheet_height = on.get_figheight() * 72
    place = (left / WIDTH, 1 - (top + height) / sheet_height, width / WIDTH, height / sheet_height)
    axes = on.add_axes(place)
    axes.set(xlim=limits.pop("x"), ylim=limits.pop("y"), **limits)
    axes.set_axis_off()
    return axes


def words(on: "Figure", x: float, y: float, text: str, /, **how: Any) -> None:  # noqa: ANN401 - matplotlib's
    """Write on the sheet; pixels from the upper left corner, to the foot of the letters."""
    on.text(x / WIDTH, 1 - y / (on.get_figheight() * 72), text, **{"va": "baseline", **how})


def line(on: "Axes", x: tuple[float, float], y: tuple[float, float], /, **how: Any) -> None:  # noqa: ANN401
    """Draw a line."""
    on.plot(x, y, clip_on=False, **{"color": LINE, "linewidth": 1, "solid_capstyle": "butt", **how})


def dot(on: "Axes", x: float, y: float, *, color: str = ACCENT) -> None:
    """Draw a dot: a line of no length with round ends needs no marker that is defined elsewhere."""
    line(on, (x, x), (y, y), linewidth=7, color=color, solid_capstyle="round")


def columns(on: "Axes", left: "ArrayLike", heights: "ArrayLike", width: "ArrayLike", /, **how: Any) -> None:  # noqa: ANN401
    """Draw columns that stand on nought, where there is something to draw."""
    left, heights, width = np.broadcast_arrays(left, heights, width)
    some = heights > 0
    on.bar(left[some], heights[some], width[some], align="edge", clip_on=False, **how)


def svg(drawn: "Figure", name: str, title: str, description: str) -> bytes:
    """Return the finished chart; the same figure gives the same bytes.

    Args:
        drawn: the figure.

        name: of the chart, from which its ids are made.

        title: what it shows.

        description: what it says, in a sentence or two.

    """
    out = StringIO()
    drawn.savefig(out, format="svg", transparent=True, metadata=dict.fromkeys(("Date", "Creator", "Format", "Type")))
    text = out.getvalue()
    height = round(drawn.get_figheight() * 72)
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}" '
        f'role="img" aria-labelledby="{name}-title {name}-description" font-family="{_FONTS}" stroke-linejoin="round">'
        f'<title id="{name}-title">{escape(title)}</title>'
        f'<desc id="{name}-description">{escape(description)}</desc>'
    )
    body = text[text.index("<g ") : text.rindex("</svg>")]
    body = re.sub(r' (?:id|transform)="[^"]*"', "", body)  # the transforms rotate by nothing
    body = re.sub(r"\s*<!--.*?-->", "", re.sub(r' style="([^"]*)"', _as_attributes, body))
    return f"{head}{body}</svg>\n".encode()


def _as_attributes(style: re.Match[str]) -> str:
    pairs = (pair.split(": ", 1) for pair in style[1].split("; ") if pair)
    return "".join(f' {name}="{value}"' for name, value in pairs if name != "font-family")
