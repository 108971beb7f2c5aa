"""Forms as they come, and what is wrong with them in words."""

from collections.abc import Sequence
from typing import Final

from fastapi import Request
from pydantic import ValidationError
from pydantic_core import ErrorDetails

from producers.console._pages import COMPONENT
from producers.console._refusals import sentence
from rfr_stream.events import Component

MAX_FIELDS: Final = 200
_NOT_SAID: Final = frozenset({"enum", "missing"})


async def fields_of(request: Request) -> dict[str, str]:
    """Return the fields of a form, their lines ended as everywhere but in forms; files are none."""
    async with request.form(max_files=0, max_fields=MAX_FIELDS) as form:
        return {name: value.replace("\r\n", "\n").strip() for name, value in form.items() if isinstance(value, str)}


def flaws(error: ValidationError, components: Sequence[Component] = tuple(Component)) -> list[str]:
    """Say what is wrong and where, without what was filled in; the components are those that the form's rows are of."""
    where: dict[str, list[str]] = {}
    for fault in error.errors(include_url=False, include_context=False, include_input=False):
        where.setdefault(_why(fault), []).append(_named(fault["loc"], components))
    return [f"{why}: {', '.join(filter(None, named))}".removesuffix(": ") + "." for why, named in where.items()]


def _why(fault: ErrorDetails) -> str:
    if fault["type"] in _NOT_SAID:
        return "Still to be said"
    return sentence(fault["msg"].removeprefix("Value error, ")).removesuffix(".")


def _named(where: Sequence[int | str], components: Sequence[Component]) -> str:
    """Return the component that a fault is in, else the field."""
    rows = [step for step in where if isinstance(step, int)]
    if rows:
        return COMPONENT[components[rows[0]]].lower()
    return str(where[-1]).replace("_", " ") if where else ""
