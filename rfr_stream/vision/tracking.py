"""Follows faces from one sampled frame to the next, and remembers where each was seen best.

A face belongs to the track whose last box is nearest: by centres, within one box width, the boxes alike in size.
Nearest pairs are joined first. Nothing is compared but places: whoever leaves the picture and comes back, or is hidden
for longer than the gap, begins a new track, and two people who change places between two samples change tracks.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from math import hypot
from typing import Final

from rfr_stream.faces import Box, Face
from rfr_stream.vision.quality import Measures

_GAP_S: Final = Fraction(1)
"""A track that has seen nothing for longer has ended; with samples further apart, it may miss one."""
_SIZE_RATIO: Final = 2.0
_SHARP: Final = 100.0
"""Variance of the Laplacian at which a chip counts as half sharp."""
_LARGE_PX: Final = 40.0
"""Distance between the eyes at which a face counts as half large."""
_CONTRAST: Final = 40.0
_MIDDLE: Final = 127.5


@dataclass(frozen=True, slots=True)
class Sighting:
    """One face in one frame, in that frame's pixels, and what was measured on its chip."""

    time: Fraction
    face: Face
    measures: Measures

    @property
    def merit(self) -> float:
        """How good a shot it is, 0 to 1: it orders the shots of one clip, and says nothing beyond.

        A product, so that one fault suffices: sharp, large, frontal, evenly lit, of some contrast, surely a face.
        """
        sharpness, brightness, contrast = self.measures
        landmarks = self.face.landmarks
        factors = (
            sharpness / (sharpness + _SHARP),
            landmarks.interocular_px / (landmarks.interocular_px + _LARGE_PX),
            max(0.0, 1 - abs(landmarks.yaw_ratio)),
            1 - abs(brightness - _MIDDLE) / _MIDDLE,
            min(1.0, contrast / _CONTRAST),
            self.face.score,
        )
        product = 1.0
        for factor in factors:
            product *= factor
        return product


@dataclass(slots=True)
class Track:
    """One face through the clip: where it was seen last, where best, and how often."""

    last: Sighting
    best: Sighting
    seen: int = 1

    def join(self, sighting: Sighting) -> None:
        """Follow the face to where it is now."""
        self.last, self.seen = sighting, self.seen + 1
        self.best = max(self.best, sighting, key=lambda each: each.merit)  # the earlier of equals


class Tracker:
    """Tracks of a clip whose frames come in the order of their times."""

    def __init__(self, step: Fraction) -> None:
        """Expect a frame every `step` seconds."""
        self._tracks: list[Track] = []
        self._gap_s = max(_GAP_S, 2 * step)

    def see(self, sightings: Sequence[Sighting]) -> None:
        """Take in the faces of the next frame."""
        if not sightings:
            return
        now = sightings[0].time
        live = [track for track in self._tracks if now - track.last.time <= self._gap_s]
        new = list(sightings)
        for track, sighting in _nearest_first(live, sightings):
            if sighting in new and track.last.time < now:
                track.join(sighting)
                new.remove(sighting)
        self._tracks += [Track(sighting, sighting) for sighting in new]

    def best(self, count: int) -> list[Sighting]:
        """Return the best shots, one of each track, best first; fewer where there are fewer tracks."""
        shots = sorted((track.best for track in self._tracks), key=lambda shot: (-shot.merit, shot.time))
        return shots[:count]


def _nearest_first(tracks: Iterable[Track], sightings: Sequence[Sighting]) -> list[tuple[Track, Sighting]]:
    pairs = [(track, each) for track in tracks for each in sightings if _may_be_one(track.last, each)]
    return sorted(pairs, key=lambda pair: _distance(pair[0].last.face.box, pair[1].face.box))


def _may_be_one(last: Sighting, now: Sighting) -> bool:
    widths = [each.face.box.x2 - each.face.box.x1 for each in (last, now)]
    return max(widths) < _SIZE_RATIO * min(widths) and _distance(last.face.box, now.face.box) < max(widths)


def _distance(one: Box, other: Box) -> float:
    return hypot(one.centre.x - other.centre.x, one.centre.y - other.centre.y)
