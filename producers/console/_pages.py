"""Templates to pages. Everything that is put in is escaped; words for codes stand here."""

from datetime import datetime
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

from fastapi import Request
from fastapi.responses import HTMLResponse
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from rfr_stream.adapters import keys
from rfr_stream.desk import SUPPORT
from rfr_stream.events import CAVEAT, Component, Finding
from rfr_stream.policy import Role

HERE: Final = Path(__file__).parent
STATIC: Final = HERE / "static"

URGENCY: Final = ("Child at risk", "Life at risk", "Missing", "Serious", "Standard")
"""In words, the places of `policy.urgency`."""

COMPONENT: Final = {each: each.replace("_", " ").capitalize() for each in Component}
FINDING: Final = {
    Finding.SIMILAR: "Similar",
    Finding.DISSIMILAR: "Dissimilar",
    Finding.EXPLAINED: "Explained",
    Finding.NOT_VISIBLE: "Not visible",
}


def page(request: Request, template: str, /, status: int = 200, **values: Any) -> HTMLResponse:  # noqa: ANN401
    """Return a page for whoever is signed in, if anybody is."""
    account = getattr(request.state, "account", None)
    text = _environment().get_template(template).render(request=request, account=account, **values)
    return HTMLResponse(text, status)


def _ago(moment: datetime, now: datetime) -> str:
    """Say how long ago, in one unit."""
    seconds = max(0, int((now - moment).total_seconds()))
    for unit, length in (("d", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= length:
            return f"{seconds // length} {unit}"
    return "just now"


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(HERE / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["ago"] = _ago
    environment.filters["digest"] = lambda text: sha256(str(text).encode()).hexdigest()[:16]
    environment.filters["fingerprint"] = keys.fingerprint
    environment.filters["words"] = lambda code: str(code).replace("_", " ")
    environment.globals |= {
        "CAVEAT": CAVEAT,
        "COMPONENT": COMPONENT,
        "FINDING": FINDING,
        "SUPPORT": SUPPORT,
        "URGENCY": URGENCY,
        "Role": Role,
    }
    return environment
