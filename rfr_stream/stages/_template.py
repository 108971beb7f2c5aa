"""A template as it lies in the blob store."""

from typing import Final

import numpy as np

from rfr_stream.errors import Malformed, Rejected
from rfr_stream.ports import Templates

_NORM_TOLERANCE: Final = 1e-3


def read_template(dimension: int, data: bytes | Rejected) -> Templates:
    """Read float32 [D] back, L2 norm 1.

    Raises:
        Rejected: there were no bytes to read, or they are no template of this dimension.

    """
    if isinstance(data, Rejected):
        raise data
    if len(data) != 4 * dimension:
        msg = f"template: must be {dimension} float32 values"
        raise Malformed(msg)
    template = np.frombuffer(data, dtype="<f4")
    if not (np.isfinite(template).all() and abs(_norm(template) - 1.0) < _NORM_TOLERANCE):
        msg = "template: must be finite and of L2 norm 1"
        raise Malformed(msg)
    return template


def _norm(template: Templates) -> float:
    return float(np.linalg.norm(template.astype(np.float64)))  # the squares of large float32 overflow
