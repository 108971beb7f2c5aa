"""Pages with ReportLab, and nothing else of it anywhere: typefaces, tables, and what stands on every page.

Nothing is compressed, and dates are ReportLab's invariant ones, so that the same story always is the same bytes. The
typefaces lie in the file; they come with matplotlib.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache
from html import escape
from importlib.metadata import distribution, version
from io import BytesIO
from threading import Lock
from typing import Any, Final, TypeAlias

from reportlab.lib.colors import HexColor  # type: ignore[import-untyped]
from reportlab.lib.enums import TA_CENTER  # type: ignore[import-untyped]
from reportlab.lib.pagesizes import A4  # type: ignore[import-untyped]
from reportlab.lib.styles import ParagraphStyle  # type: ignore[import-untyped]
from reportlab.lib.units import mm  # type: ignore[import-untyped]
from reportlab.pdfbase import pdfmetrics  # type: ignore[import-untyped]
from reportlab.pdfbase.ttfonts import TTFont  # type: ignore[import-untyped]
from reportlab.platypus import (  # type: ignore[import-untyped]
    BaseDocTemplate,
    CondPageBreak,
    Frame,
    KeepTogether,
    LongTable,
    NextPageTemplate,
    PageBreak,
    PageTemplate,
    Paragraph,
    Spacer,
)

from rfr_stream.events import CAVEAT

Flowable: TypeAlias = Any  # ReportLab has no types
Story: TypeAlias = Iterator[Flowable]
Pages: TypeAlias = Mapping[str, int]
"""On which page each chapter begins; empty while that is being found out."""

_ONE_AT_A_TIME: Final = Lock()
"""ReportLab reads a typeface as a file that has one position."""

PRINTED_BY: Final = f"layout 2, reportlab {version('reportlab')}, matplotlib {version('matplotlib')}"
"""Whoever is another may lay the same words out otherwise."""

WIDTH: Final = A4[0] - 40 * mm
_SIDE: Final = 20 * mm
_INK: Final = HexColor(0x1A1A1A)
_FAINT: Final = HexColor(0x5F5F5F)
_RULE: Final = HexColor(0xB8B8B8)
_SHADE: Final = HexColor(0xF2F1ED)
_FACES: Final = {
    "Text": "STIXGeneral",
    "Text-Bold": "STIXGeneralBol",
    "Text-Italic": "STIXGeneralItalic",
    "Mono": "DejaVuSansMono",
}


def _style(name: str, size: float, **fields: object) -> ParagraphStyle:
    look = {"fontName": "Text", "fontSize": size, "leading": size * 1.28, "textColor": _INK, "spaceAfter": 0}
    return ParagraphStyle(name, **{**look, **fields})


_TITLE: Final = _style("title", 26, spaceAfter=2 * mm)
_SUBTITLE: Final = _style("subtitle", 13, textColor=_FAINT, spaceAfter=7 * mm)
_CHAPTER: Final = _style("chapter", 18, spaceAfter=1.5 * mm)
_SECTION: Final = _style("section", 12.5, fontName="Text-Bold", spaceBefore=6 * mm, spaceAfter=2 * mm)
_BLOCK: Final = _style("block", 10.5, fontName="Text-Bold", spaceBefore=4 * mm, spaceAfter=1.5 * mm)
_BODY: Final = _style("body", 10, spaceAfter=1.5 * mm)
_ITEM: Final = _style("item", 10, leftIndent=7 * mm, bulletFontName="Text", bulletFontSize=10, spaceAfter=1.2 * mm)
_CELL: Final = _style("cell", 9)
_LABEL: Final = _style("label", 9, textColor=_FAINT)
_HEAD: Final = _style("head", 8.5, fontName="Text-Bold")
_CODE: Final = _style("code", 6.8, fontName="Mono", leading=9.2)
_CODE_CELL: Final = _style("code in a grid", 6.3, fontName="Mono", leading=8.5)
_WARNING: Final = _style("warning", 12.5, fontName="Text-Bold", alignment=TA_CENTER)


# --- words ----------------------------------------------------------------------------------------------------------
class Code(str):
    """A digest, key or id: set so that its characters can be told apart."""

    __slots__ = ()


def _paragraph(text: object, style: ParagraphStyle, code: ParagraphStyle = _CODE) -> Flowable:
    """Return foreign text as it is: none of it is markup."""
    return Paragraph(escape(str(text), quote=False).replace("\n", "<br/>"), code if isinstance(text, Code) else style)


def title(text: str, under: str) -> Story:
    """Print what the document is."""
    yield _paragraph(text, _TITLE)
    yield _paragraph(under, _SUBTITLE)


def warning(text: str) -> Flowable:
    """Print what must not be overlooked."""
    table = LongTable([[_paragraph(text, _WARNING)]], colWidths=[WIDTH])
    table.setStyle([("BOX", (0, 0), (-1, -1), 1.1, _INK), ("TOPPADDING", (0, 0), (-1, -1), 8), _bottom(11)])
    return KeepTogether([table, Spacer(0, 6 * mm)])


def chapter(text: str, name: str) -> Story:
    """Begin on a new page."""
    yield NextPageTemplate(name)
    yield PageBreak()
    yield _paragraph(text, _CHAPTER)


def section(text: str, *, room_mm: float = 40) -> Story:
    """Begin a section, on the next page where this one has less room."""
    yield CondPageBreak(room_mm * mm)
    yield _paragraph(text, _SECTION)


def block(text: str, *, room_mm: float = 30) -> Story:
    """Begin a part of a section, on the next page where this one has less room."""
    yield CondPageBreak(room_mm * mm)
    yield _paragraph(text, _BLOCK)


def words(text: str) -> Flowable:
    """Print a paragraph."""
    return _paragraph(text, _BODY)


def items(texts: Sequence[str], *, numbered: bool = False) -> Story:
    """Print a list."""
    for number, text in enumerate(texts, start=1):
        yield Paragraph(escape(text, quote=False), _ITEM, bulletText=f"{number}." if numbered else "\N{EN DASH}")


# --- tables ---------------------------------------------------------------------------------------------------------
def facts(rows: Mapping[str, object]) -> Flowable:
    """Print labels and what they say; what is None is not said."""
    said = [(name, value) for name, value in rows.items() if value is not None]
    cells = [[_paragraph(name, _LABEL), _paragraph(value, _CELL)] for name, value in said]
    table = LongTable(cells, colWidths=[38 * mm, WIDTH - 38 * mm], splitInRow=1, spaceAfter=2 * mm)
    table.setStyle([*_PLAIN, *_on_one_line(said), ("LINEBELOW", (0, 0), (-1, -1), 0.3, _RULE)])
    return table


def grid(columns: Mapping[str, float], rows: Sequence[Sequence[object]]) -> Flowable:
    """Print a table; the columns' widths are shares of the page's."""
    head = [_paragraph(name, _HEAD) for name in columns]
    cells = [[_paragraph(value, _CELL, _CODE_CELL) for value in row] for row in rows]
    widths = [WIDTH * share / sum(columns.values()) for share in columns.values()]
    table = LongTable([head, *cells], colWidths=widths, repeatRows=1, splitInRow=1, spaceAfter=2 * mm)
    table.setStyle(
        [
            *_PLAIN,
            *_on_one_line([(), *rows]),
            ("BACKGROUND", (0, 0), (-1, 0), _SHADE),
            ("LINEBELOW", (0, 0), (-1, 0), 0.8, _INK),
            ("LINEBELOW", (0, 1), (-1, -1), 0.3, _RULE),
        ]
    )
    return table


def _on_one_line(rows: Sequence[Sequence[object]]) -> Iterator[tuple[object, ...]]:
    """Yield what sets small type on the line of the words beside it."""
    for row, values in enumerate(rows):
        for column, value in enumerate(values):
            if isinstance(value, Code):
                yield "TOPPADDING", (column, row), (column, row), 3.8


def _bottom(points: float) -> tuple[object, ...]:
    return ("BOTTOMPADDING", (0, 0), (-1, -1), points)


_PLAIN: Final = [
    ("VALIGN", (0, 0), (-1, -1), "TOP"),
    ("LEFTPADDING", (0, 0), (-1, -1), 3),
    ("RIGHTPADDING", (0, 0), (-1, -1), 5),
    ("TOPPADDING", (0, 0), (-1, -1), 1.5),
    _bottom(3.5),
]


# --- pages ----------------------------------------------------------------------------------------------------------
def print_pages(story: Callable[[Pages], Story], heads: Mapping[str, str], *, about: str) -> bytes:
    """Return the document; it is laid out twice, since only then is it known on which page what stands.

    Args:
        story: what is printed, told where its chapters begin.

        heads: the chapters in order, and what stands at the head of their pages.

        about: for the document's own properties.

    """
    with _ONE_AT_A_TIME:
        _register_faces()
        _, last, begins = _lay_out(story({}), heads, about=about, of_last="")
        data, _, _ = _lay_out(story(begins), heads, about=about, of_last=f" of {last}")
    return data


def _lay_out(story: Story, heads: Mapping[str, str], *, about: str, of_last: str) -> tuple[bytes, int, dict[str, int]]:
    """Return the document, how many pages it has, and on which each chapter begins."""
    file, begins = BytesIO(), dict[str, int]()
    document = BaseDocTemplate(
        file,
        pagesize=A4,
        pageCompression=0,
        invariant=1,
        lang="en-GB",
        title=about,
        author="rfr-stream",
        subject=CAVEAT,
    )

    def decorate(canvas: Any, _: object, name: str) -> None:  # noqa: ANN401 - ReportLab's
        begins.setdefault(name, canvas.getPageNumber())
        _decorate(canvas, heads[name], of_last)

    for name in heads:
        frame = Frame(_SIDE, 24 * mm, WIDTH, A4[1] - 46 * mm, leftPadding=0, rightPadding=0, topPadding=0)
        page = PageTemplate(name, [frame], onPage=lambda canvas, document, name=name: decorate(canvas, document, name))
        document.addPageTemplates([page])
    document.build(list(story))
    return file.getvalue(), document.page, begins


def _decorate(canvas: Any, head: str, of_last: str) -> None:  # noqa: ANN401 - ReportLab's
    """Draw what stands on every page: where one is, and what this is not."""
    canvas.saveState()
    canvas.setFillColor(_FAINT)
    canvas.setFont("Text", 8.5)
    canvas.drawString(_SIDE, A4[1] - 14 * mm, head)
    canvas.drawRightString(A4[0] - _SIDE, A4[1] - 14 * mm, f"Page {canvas.getPageNumber()}{of_last}")
    canvas.setStrokeColor(_RULE)
    canvas.setLineWidth(0.5)
    canvas.line(_SIDE, 18 * mm, A4[0] - _SIDE, 18 * mm)
    canvas.setFillColor(_INK)
    canvas.setFont("Text-Bold", 9.5)
    canvas.drawCentredString(A4[0] / 2, 12.5 * mm, CAVEAT)
    canvas.restoreState()


@cache
def _register_faces() -> None:
    for name, file in _FACES.items():
        path = distribution("matplotlib").locate_file(f"matplotlib/mpl-data/fonts/ttf/{file}.ttf")
        pdfmetrics.registerFont(TTFont(name, str(path)))
