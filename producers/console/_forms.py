"""Forms as they come, and what is wrong with them in words."""

from typing import Final

from fastapi import Request
from pydantic import ValidationError

from producers.console._pages import COMPONENT
from rfr_stream.events import Component

MAX_FIELDS: Final = 200


async def fields_of(request: Request) -> dict[str, str]:
    """Return the fields of a form; files are none."""
    async with request.form(max_files=0, max_fields=MAX_FIELDS) as form:
        return {name: value.strip() for name, value in form.items() if isinstance(value, str)}


def flaws(error: ValidationError) -> list[str]:
    """Say which fields are wrong and why, without their values."""
    said = []
    for fault in error.errors(include_url=False, include_context=False, include_input=False):
        where = ", ".join(_named(step) for step in fault["loc"])
        why = fault["msg"].removeprefix("Value error, ")
        said.append(f"{where}: {why}" if where else why)
    return list(dict.fromkeys(said))


def _named(step: int | str) -> str:
    if isinstance(step, int):
        return COMPONENT[list(Component)[step]] if step < len(Component) else str(step + 1)
    return step.replace("_", " ")
