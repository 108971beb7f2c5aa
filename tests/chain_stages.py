"""A process that runs stages of the chain, as the environment says: `python chain_stages.py [STAGE...]`."""

import asyncio
import sys

from consumers import together
from rfr_stream.settings import Settings

if __name__ == "__main__":
    asyncio.run(together.create_app(Settings(), sys.argv[1:] or together.STAGES).run())
