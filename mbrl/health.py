"""Is this machine fit? Versions, devices, memory, whether equal work gives equal bits, and what looks wrong."""

import hashlib
import os
import platform
import shutil
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import NamedTuple

from mbrl.process import is_accelerated

PACKAGES = ("jax", "jaxlib", "flax", "optax", "gymnax", "orbax-checkpoint", "numpy", "safetensors")
EXTRAS = ("ray", "submitit", "tensorboardX", "wandb")


class Finding(NamedTuple):
    """One thing that was looked at; `wrong` says what to do about it, empty if nothing."""

    name: str
    value: str
    wrong: str = ""


def examine(folder: Path) -> Iterator[Finding]:
    """Yield what is found of this machine and of the folder that results would go to."""
    yield Finding("python", f"{platform.python_version()} on {platform.system()} {platform.machine()}")
    for name in PACKAGES:
        yield Finding(name, _version(name) or "missing", "" if _version(name) else f"install {name}")
    yield Finding("extras", ", ".join(f"{name} {_version(name)}" for name in EXTRAS if _version(name)) or "none")
    yield _gpu()
    import jax

    devices = jax.devices()
    yield Finding("devices", ", ".join(f"{device.device_kind} {device.id}" for device in devices))
    threads = os.environ.get("PJRT_NPROC", "not set")
    yield Finding("cores", f"{len(os.sched_getaffinity(0))} of {os.cpu_count()}, PJRT_NPROC {threads}")
    yield Finding("XLA_FLAGS", os.environ.get("XLA_FLAGS", "not set"))
    yield _memory()
    for device in devices:
        stats = device.memory_stats() or {}
        if "bytes_limit" in stats:
            yield Finding(f"memory of {device.device_kind} {device.id}", f"{stats['bytes_limit'] / 2**30:.1f} GiB")
    yield _disk(folder)
    yield canary()
    yield world()


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _gpu() -> Finding:
    there = Path("/proc/driver/nvidia/version").exists() or shutil.which("nvidia-smi") is not None
    wrong = "a GPU is there, but jax is the CPU's: pip install -e '.[cuda12]' or '.[cuda13]'"
    return Finding("NVIDIA driver", "found" if there else "none", wrong if there and not is_accelerated() else "")


def _memory() -> Finding:
    pages, size = os.sysconf("SC_PHYS_PAGES"), os.sysconf("SC_PAGE_SIZE")
    total = pages * size / 2**30
    needed = 3 * len(os.sched_getaffinity(0))
    wrong = f"a worker takes up to 3 GiB: sweep with --max-parallel {max(1, int(total // 3))}" if total < needed else ""
    return Finding("memory", f"{total:.1f} GiB", wrong)


def _disk(folder: Path) -> Finding:
    there = next(path for path in [folder.absolute(), *folder.absolute().parents] if path.exists())
    free = shutil.disk_usage(there).free / 2**30
    return Finding("disk", f"{free:.1f} GiB free for {folder}", "less than 1 GiB is free" if free < 1 else "")


def canary(rounds: int = 3) -> Finding:
    """Do the same work several times and compare the bits; equal machines show equal digests."""
    import jax
    import jax.numpy as jnp

    @jax.jit
    def work(key):
        def step(state, step_key):
            weights = jax.random.normal(step_key, (64, 64)) / 8
            return jnp.tanh(state @ weights) + jnp.mean(state, axis=0), jnp.sum(state)

        return jax.lax.scan(step, jnp.ones((256, 64)), jax.random.split(key, 50))

    digests = {_digest(work(jax.random.key(0))) for _ in range(rounds)}
    wrong = "equal work gave different bits: use --exact" if len(digests) > 1 else ""
    return Finding("determinism", f"{rounds} runs, digest {' '.join(sorted(digests))}", wrong)


WORLD = "8f3f6229ea0ea8ad"
"""Digest of `world` on every kind of device: nothing in levels, rules, observations and random numbers is rounded."""


def world(num_envs: int = 256, num_ticks: int = 200) -> Finding:
    """Let random actions run the factory, as gymnax hands it out, and compare all that comes of it."""
    import gymnax
    import jax

    env, params = gymnax.make("PaperclipFactory-v0")

    @jax.jit
    def play(key):
        first, rest = jax.random.split(key)
        obs, state = jax.vmap(env.reset, (0, None))(jax.random.split(first, num_envs), params)

        def tick(carry, key):
            act, step = jax.random.split(key)
            action = jax.random.randint(act, (num_envs,), 0, env.num_actions)
            keys = jax.random.split(step, num_envs)
            obs, state, reward, *rest = jax.vmap(env.step, (0, 0, 0, None))(keys, carry[1], action, params)
            return (obs, state), (reward, obs.sum((1, 2, 3)), rest)

        return jax.lax.scan(tick, (obs, state), jax.random.split(rest, num_ticks))

    found = _digest(play(jax.random.key(3)))
    wrong = "" if found == WORLD else f"the factory runs otherwise than elsewhere: digest {WORLD}"
    return Finding("world", f"{num_envs * num_ticks:,} random steps, digest {found}", wrong)


def _digest(tree) -> str:
    import jax
    import numpy as np

    found = hashlib.sha256()
    for leaf in map(np.asarray, jax.tree.leaves(tree)):
        found.update(f"{(leaf.shape, leaf.dtype)}".encode() + leaf.tobytes())
    return found.hexdigest()[:16]
