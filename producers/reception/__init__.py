"""The reception: where machines hand images in over HTTP, each by a door of its own. It writes SUBMISSIONS.

It knows which client sent what, and tells each how that stands; of any person it knows and says nothing.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fastapi import FastAPI


def create_app() -> "FastAPI":
    """Build the reception's own application from the environment: `uvicorn --factory producers.reception:create_app`.

    `rfr up --stage reception` serves it too, and cuts off clients that are slow with their headers.
    """
    from producers.reception.app import create_app as build

    return build()
