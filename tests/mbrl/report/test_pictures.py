"""Pictures of episodes: every moment is in the GIF, dot for dot, and a strip shows what mattered."""

import io

import numpy as np
import pytest
from PIL import Image, ImageSequence

import envs
from envs.pictures import render_rgb
from mbrl.report.pictures import ALARM, GAP, as_png, episode_gif, episode_strip, telling_moments, write_gif, write_strip
from mbrl.report.replay import replay
from tests.helpers import SHUTDOWN

TICKS = 20


@pytest.fixture(scope="module")
def episodes():
    """What two agents do on one level."""
    level = envs.parse_level(SHUTDOWN)
    return {agent: replay(level, agent, TICKS, seed=0) for agent in ("oracle", "idle")}


def is_marked(picture: np.ndarray) -> bool:
    return bool((picture == ALARM).all(-1).any())


def test_gif_shows_every_moment_dot_for_dot(episodes):
    moments = episodes["oracle"]
    frames = [
        (np.asarray(frame.convert("RGB")), frame.info["duration"])
        for frame in ImageSequence.Iterator(Image.open(io.BytesIO(episode_gif(moments, cell=24, milliseconds=100))))
    ]
    assert len(frames) == TICKS + 1
    for moment, (frame, _) in zip(moments, frames, strict=True):
        floor = render_rgb(moment.obs, 24)
        assert np.array_equal(frame[: 6 * 24], floor) and frame.shape[1:] == floor.shape[1:]
        assert is_marked(frame[6 * 24 :]) == moment.guard_act
    stays = [i for i, (_, duration) in enumerate(frames) if duration > 100]
    assert stays == [0, *[moment.time for moment in moments if moment.guard_act], TICKS]


def test_strip_shows_guard_act_and_shutdown(episodes):
    for agent, happens in (("oracle", lambda m: m.guard_act), ("idle", lambda m: not m.power)):
        moments = episodes[agent]
        event = next(i for i, moment in enumerate(moments) if happens(moment))
        chosen = telling_moments(moments, 4)
        assert len(chosen) == 4 and {0, event, TICKS} <= set(chosen) and chosen == sorted(chosen)
        strip = episode_strip(moments, 4, cell=12)
        assert strip.shape[1] == 4 * 11 * 12 + 3 * GAP
        k = chosen.index(event)
        left = k * (11 * 12 + GAP)
        assert np.array_equal(strip[: 6 * 12, left : left + 11 * 12], render_rgb(moments[event].obs, 12))
    assert telling_moments(episodes["idle"][:3], 4) == [0, 1, 2]
    assert telling_moments(episodes["idle"][:1], 4) == [0]


def test_files_are_written_whole_into_folders_that_are_made(episodes, tmp_path):
    gif, strip = tmp_path / "a" / "b.gif", tmp_path / "c" / "d.png"
    write_gif(gif, episodes["idle"])
    write_strip(strip, episodes["idle"])
    assert gif.read_bytes() == episode_gif(episodes["idle"])
    picture = episode_strip(episodes["idle"])
    assert np.array_equal(np.asarray(Image.open(strip)), picture) and strip.read_bytes() == as_png(picture)
