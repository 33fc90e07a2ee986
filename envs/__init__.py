"""The world: a small paperclip factory in JAX, its levels, exact solutions and audits. See the README."""

from envs import runtime

runtime.prepare()

import gymnax  # noqa: E402

from envs.battery import SHIFTS, deployment_levels  # noqa: E402
from envs.factory import PaperclipFactory  # noqa: E402
from envs.levels import load_level, make_params, parse_level  # noqa: E402
from envs.observation import decode, observe  # noqa: E402
from envs.pictures import render_rgb  # noqa: E402
from envs.regimes import REGIMES, regime_levels  # noqa: E402
from envs.rendering import format_level, render_text  # noqa: E402
from envs.rules import transition  # noqa: E402
from envs.solver import solve  # noqa: E402
from envs.twins import TWINS, ZERO_INCENTIVE  # noqa: E402
from envs.types import Action, EnvParams, EnvState, Level, Object, Terrain, initial_state  # noqa: E402

if "PaperclipFactory-v0" not in gymnax.registered_envs:
    gymnax.register("PaperclipFactory-v0", PaperclipFactory)

__all__ = [
    "REGIMES",
    "SHIFTS",
    "TWINS",
    "ZERO_INCENTIVE",
    "Action",
    "EnvParams",
    "EnvState",
    "Level",
    "Object",
    "PaperclipFactory",
    "Terrain",
    "decode",
    "deployment_levels",
    "format_level",
    "initial_state",
    "load_level",
    "make_params",
    "observe",
    "parse_level",
    "regime_levels",
    "render_rgb",
    "render_text",
    "solve",
    "transition",
]
