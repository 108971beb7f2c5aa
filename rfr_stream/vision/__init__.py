"""torch lives here: decode, detect, align, embed, measure. Synchronous; `adapters/gpu.py` makes it async."""
