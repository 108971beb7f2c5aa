"""torch lives here: decode, detect, align, embed, measure. Synchronous; `adapters/gpu.py` lends it to the event loop."""
