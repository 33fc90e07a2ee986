"""Pictures of an episode: an animated GIF, and a strip of its telling moments."""

import io
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageDraw, ImageFont

from envs.observation import OBJECT
from envs.pictures import render_rgb
from envs.types import Object
from mbrl.files import write_whole
from mbrl.report.replay import Moment, headline

Picture = UInt8[np.ndarray, "rows columns 3"]
INK, GREY, ALARM = (29, 32, 38), (95, 101, 112), (213, 94, 0)
LINE = 18
"""Height of a line of text in pixels."""
GAP = 12
"""Space between pictures in pixels."""


def text_line(text: str, width: int, colour: tuple[int, int, int] = INK, size: int = 13) -> Picture:
    """Write a line on white, cut off at `width`, its edges in few shades, as a GIF has few colours."""
    canvas = Image.new("L", (width, LINE + size - 13))
    ImageDraw.Draw(canvas).text((1, 1), text, fill=255, font=_font(size))
    ink = np.round(np.asarray(canvas)[..., None] / 255 * 15) / 15
    return np.round(255 + (np.array(colour) - 255) * ink).astype(np.uint8)


@cache
def _font(size: int):
    return ImageFont.load_default(size)


def beside(pictures: Sequence[Picture], gap: int = GAP) -> Picture:
    """Set pictures side by side on white, their tops on a line."""
    height = max(len(picture) for picture in pictures)
    width = sum(picture.shape[1] + gap for picture in pictures) - gap
    sheet, left = np.full((height, width, 3), 255, np.uint8), 0
    for picture in pictures:
        sheet[: len(picture), left : left + picture.shape[1]] = picture
        left += picture.shape[1] + gap
    return sheet


def below(pictures: Sequence[Picture], gap: int = 0) -> Picture:
    """Set pictures one below the other on white, their left edges on a line."""
    return beside([picture.swapaxes(0, 1) for picture in pictures], gap).swapaxes(0, 1)


def moment_picture(moment: Moment, cell: int = 24) -> Picture:
    """Draw a moment, and below it what the last tick was; a guard act stands out."""
    floor = render_rgb(moment.obs, cell)
    line = text_line(headline(moment), floor.shape[1], ALARM if moment.guard_act else INK)
    return below([floor, line], gap=2)


def episode_gif(moments: Sequence[Moment], cell: int = 24, milliseconds: int = 250) -> bytes:
    """Return an endless animation, a frame for each moment; start, guard acts and end stay a second longer."""
    frames = np.stack([moment_picture(moment, cell) for moment in moments])
    packed = frames.astype(np.int32) @ (1 << 16, 1 << 8, 1)
    colours, index = np.unique(packed, return_inverse=True)
    palette = np.stack([colours >> 16, colours >> 8 & 255, colours & 255], axis=1).astype(np.uint8)
    images = [Image.fromarray(frame) for frame in index.reshape(packed.shape).astype(np.uint8)]
    for image in images:
        image.putpalette(palette.tobytes())
    ends = (moments[0].time, moments[-1].time)
    times = [milliseconds + 1000 * (moment.guard_act or moment.time in ends) for moment in moments]
    file = io.BytesIO()
    images[0].save(file, "GIF", save_all=True, append_images=images[1:], duration=times, loop=0)
    return file.getvalue()


def telling_moments(moments: Sequence[Moment], count: int) -> list[int]:
    """Return the numbers of up to `count` moments, in order.

    Start and end come first, then the first guard act, the first change of the power and the moment in which the robot
    is disabled; then the middle of the widest gap, again and again.
    """
    chosen = {0, len(moments) - 1}
    events = (
        lambda moment: moment.guard_act,
        lambda moment: moment.power != moments[0].power,
        lambda moment: np.any(moment.obs[..., OBJECT] == Object.DISABLED_ROBOT),
    )
    for event in events:
        found = next((i for i, moment in enumerate(moments) if event(moment)), 0)
        if len(chosen) < count:
            chosen.add(found)
    while len(chosen) < min(count, len(moments)):
        _, left, right = max((b - a, a, b) for a, b in zip(sorted(chosen)[:-1], sorted(chosen)[1:], strict=True))
        chosen.add((left + right) // 2)
    return sorted(chosen)


def episode_strip(moments: Sequence[Moment], count: int = 4, cell: int = 24) -> Picture:
    """Draw the telling moments of an episode side by side."""
    return beside([moment_picture(moments[i], cell) for i in telling_moments(moments, count)])


def as_png(picture: Picture) -> bytes:
    """Return a picture as a PNG file."""
    image = Image.fromarray(picture)
    file = io.BytesIO()
    image.save(file, "PNG", optimize=True)
    return file.getvalue()


def write_gif(path: Path, moments: Sequence[Moment]) -> None:
    """Write an episode as an animated GIF."""
    write_whole(path, episode_gif(moments))


def write_strip(path: Path, moments: Sequence[Moment]) -> None:
    """Write the telling moments of an episode as PNG."""
    write_whole(path, as_png(episode_strip(moments)))
