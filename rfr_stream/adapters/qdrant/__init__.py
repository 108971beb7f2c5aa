"""Galleries on Qdrant: `edge.py` embeds the engine in this process, `server.py` talks to a server or cluster.

Both scan the whole collection through 4-bit codes and score the best again with the stored float32 templates. There
is no graph index: face templates lie almost evenly on the sphere, where graph search missed the true mate in up to
six of ten searches of 100,000 references, and the scan missed none. Points hold an opaque id and a template, never
a payload.
"""
