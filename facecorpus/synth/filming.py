"""Draws the frames of a recording: one person in one room, whose head, gaze and light move smoothly."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from facecorpus.synth.backdrop import draw_backdrop
from facecorpus.synth.dynamics import UNITS, drift
from facecorpus.synth.expression import Expression
from facecorpus.synth.face import Camera, Framing, draw_face, expose
from facecorpus.synth.geometry import Pose
from facecorpus.synth.identity import Identity
from facecorpus.synth.light import Light
from facecorpus.synth.paint import Array
from facecorpus.synth.recordings import Recording
from facecorpus.synth.studies import STUDIES

_SIGHTS = {"right": -4.0, "left": 4.0}
"""By camera, how far to the side the head seems turned, in degrees."""
CAMERAS = tuple(_SIGHTS)


def film(recording: Recording, seed: int, camera: str = "right") -> Iterator[tuple[int, Array]]:
    """Position (relative to the first annotated frame) and RGB uint8 (H, W, 3) of every recorded frame.

    Args:
        recording: what is recorded.
        seed: of the whole data set.
        camera: one of `CAMERAS`; only DISFA has two.
    """
    study = STUDIES[recording.study]
    width, height = study.size_px
    who = Identity.sample(seed, recording.person)
    person = np.random.default_rng([seed, recording.person, 0x9E4])  # constant over a person's recordings
    task = list(study.tasks).index(recording.task)
    moving = np.random.default_rng([seed, recording.person, task, 0x30B])
    room = _laboratory(person, width, height)
    light = Light(
        float(person.uniform(-0.4, 0.1)),
        float(person.uniform(-0.6, -0.4)),
        float(person.uniform(0.45, 0.6)),
        float(person.uniform(0.97, 1.05)),
    )
    place = Framing(0.5 + float(person.uniform(-0.03, 0.03)), 0.42, study.interocular_px / min(width, height))
    frames = max(recording.recorded.stop, len(recording.au))
    path = np.tanh(drift(moving, frames, 10, 7.0) / 2) * 2  # no move beyond two standard deviations
    exposed = moving.integers(1 << 30, size=frames + recording.before)
    for at in recording.recorded:
        lens = Camera(0.25, 2.0, int(exposed[at]))
        if not 0 <= at < len(recording.au):
            yield at, expose(room.copy(), lens)
            continue
        move = [float(v) for v in path[at]]
        pose = Pose(3.5 * move[0] + _SIGHTS[camera], 3 * move[1], 3 * move[2], 0.3 * move[3], 0.15 * move[4])
        spot = replace(
            place,
            x=place.x + 0.015 * move[5],
            y=place.y + 0.012 * move[6],
            interocular=place.interocular * (1 + 0.02 * move[7]),
        )
        if at in recording.away:
            spot = replace(spot, x=1.5 if move[0] > 0 else -0.5, y=0.6)
        lit = replace(light, x=light.x + 0.08 * move[8], exposure=light.exposure * (1 + 0.02 * move[9]))
        expression = Expression(dict(zip(UNITS, (float(v) for v in recording.au[at]), strict=True)))
        rgb, _, _ = draw_face(
            who, expression, pose, lit, (width, height), framing=spot, backdrop=room, camera=lens
        )
        yield at, rgb


def _laboratory(rng: np.random.Generator, width: int, height: int) -> Array:
    """A plain wall with little on it, (height, width, 3) float32 RGB 0 to 255."""
    wall = draw_backdrop(int(rng.integers(1 << 30)), width, height)
    return (0.25 * wall + 0.75 * float(rng.uniform(80, 160))).astype(np.float32)
