"""Several templates of one subject, one question to the gallery.

The question is the mean of the templates; a similarity to it is multiplied by a power of the mean's length, which is
1 where the templates agree and less where they do not. At power 0 (the mean template brought to norm 1) more
strangers reach the threshold than by one image; at power 1 (the mean of the similarities) fewer, but so do subjects
in bad images. The largest similarity, which is what several searches beside each other would find, lets in most
strangers. And nobody is listed whom no image finds by itself. `benches/low_quality.py` measures the rule, and those
that it was chosen from.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from rfr_stream.errors import Malformed
from rfr_stream.ports import Templates

AGREEMENT: Final = 0.5
"""The power."""
RULE: Final = "mean-template-root-length"
_NOTHING: Final = 1e-3


@dataclass(frozen=True, slots=True)
class Fused:
    """What is searched: float32 [D], L2 norm 1; and what each similarity to it is multiplied by, at most 1."""

    template: Templates
    weight: float = 1.0


def fuse(templates: Sequence[Templates]) -> Fused:
    """Return what is searched for; one template is searched as it is.

    Raises:
        Malformed: the templates cancel each other out.

    """
    if len(templates) == 1:
        return Fused(templates[0])
    middle = np.stack(templates).astype(np.float64).mean(axis=0)  # [D]
    length = float(np.linalg.norm(middle))
    if length < _NOTHING:
        msg = "variants: their templates cancel each other out; they cannot all show one subject"
        raise Malformed(msg)
    return Fused(np.asarray(middle / length, np.float32), min(1.0, length) ** AGREEMENT)
