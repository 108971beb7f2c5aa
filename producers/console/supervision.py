"""What a supervisor sees of the desk's work: charts, each with its numbers, and what needs a conversation."""

import asyncio
from datetime import datetime, timedelta
from typing import Annotated, Final, TypeAlias

from fastapi import APIRouter, Query, Request
from fastapi.responses import HTMLResponse, Response

from producers.console import charts
from producers.console._desk import Desk, Here, NotFound, Supervising
from producers.console._pages import page
from rfr_stream.conduct import Report
from rfr_stream.desk import Operation

Days: TypeAlias = Annotated[int, Query(ge=1, le=366)]
PERIODS: Final = (7, 30, 90)
KEPT_FOR: Final = timedelta(seconds=30)
"""A page asks for its numbers once for each chart."""

router = APIRouter(prefix="/supervision")


@router.get("", response_class=HTMLResponse)
async def overview(request: Request, desk: Here, account: Supervising, days: Days = 30) -> HTMLResponse:
    """Show the period's charts, its reviewers, and the latest alerts."""
    await desk.log(account, Operation.CONSULTATION, "supervision", f"numbers of {days} days")
    return page(
        request,
        "supervision.html",
        days=days,
        periods=PERIODS,
        charts=charts.CHARTS,
        report=await _report(request, desk, days),
        alerts=await desk.store.examinations.alerts(20),
        now=desk.clock(),
    )


@router.get("/{name}.svg", response_class=Response, responses={200: {"content": {"image/svg+xml": {}}}})
async def chart(request: Request, name: str, desk: Here, _: Supervising, days: Days = 30) -> Response:
    """Draw one chart."""
    found = await _report(request, desk, days)
    drawn = await asyncio.to_thread(charts.chart, _known(name), found)
    return Response(drawn, media_type="image/svg+xml")


@router.get("/{name}.csv", response_class=Response, responses={200: {"content": {"text/csv": {}}}})
async def numbers(request: Request, name: str, desk: Here, account: Supervising, days: Days = 30) -> Response:
    """Hand out one chart's numbers."""
    found = await _report(request, desk, days)
    await desk.log(account, Operation.CONSULTATION, "supervision", f"{_known(name)} of {days} days, as a file")
    headers = {"content-disposition": f'attachment; filename="{name}-{days}-days.csv"'}
    return Response(charts.csv(name, found), media_type="text/csv", headers=headers)


def _known(name: str) -> str:
    if name not in charts.CHARTS:
        raise NotFound
    return name


async def _report(request: Request, desk: Desk, days: int) -> Report:
    """Return the period's numbers, not older than `KEPT_FOR`."""
    kept: dict[int, tuple[datetime, Report]] = request.app.state.__dict__.setdefault("reports", {})
    now = desk.clock()
    at, found = kept.get(days, (None, None))
    if at is None or found is None or not now - KEPT_FOR < at <= now:
        found = await desk.store.statistics.report(now - timedelta(days=days), now)
        kept[days] = (now, found)
    return found
