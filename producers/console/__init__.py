"""The review desk: where people decide, each alone and by signature. It reads the ledger and writes DECISIONS.

Officers also endorse here what the public sent in to appeals; that alone goes to SUBMISSIONS.

It never writes IDENTIFICATIONS: only the review stage's principal may, and the broker holds everybody to that.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fastapi import FastAPI


def create_app() -> "FastAPI":
    """Build the desk's own application from the environment: `uvicorn --factory producers.console:create_app`."""
    from producers.console.app import create_app as build

    return build()
