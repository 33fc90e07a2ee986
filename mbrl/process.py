"""Settings of a process that must stand in its environment before JAX is imported; nothing here imports JAX."""

import hashlib
import importlib.util
import os
import platform
from pathlib import Path


def is_accelerated() -> bool:
    """Tell whether JAX will find a plug-in for a GPU or TPU."""
    plugins = ("jax_cuda12_plugin", "jax_cuda13_plugin", "jax_rocm7_plugin", "libtpu")
    return os.environ.get("JAX_PLATFORMS") != "cpu" and any(importlib.util.find_spec(name) for name in plugins)


def environment(exact: bool, workers: int, devices: int = 1) -> dict[str, str]:
    """Return the variables that the processes of a run need.

    Args:
        exact: one thread or, on GPUs, deterministic operations, so that bits depend on the kind of device alone.
        workers: processes that share this machine's cores.
        devices: with more than one, and no accelerator, the processor acts as so many devices.
    """
    found = {"PJRT_NPROC": os.environ.get("PJRT_NPROC", str(max(1, (os.cpu_count() or 1) // workers)))}
    if exact and not is_accelerated():  # On GPUs the threads only compile.
        found["PJRT_NPROC"] = "1"
    flags = []
    if is_accelerated():
        flags += ["--xla_gpu_deterministic_ops=true"] * exact
    elif devices > 1:
        flags.append(f"--xla_force_host_platform_device_count={devices}")
    given = os.environ.get("XLA_FLAGS", "")
    missing = [flag for flag in flags if flag.partition("=")[0] not in given]
    if missing:
        found["XLA_FLAGS"] = " ".join([given, *missing]).strip()
    kept = compiled_programs()
    if "JAX_COMPILATION_CACHE_DIR" not in os.environ and _is_writable(kept):
        found["JAX_COMPILATION_CACHE_DIR"] = str(kept)
    return found


def compiled_programs() -> Path:
    """Return where JAX keeps what it compiled for processors like this machine's, so that it is compiled once."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    kind = sorted({line for line in lines if line.startswith(("model name", "flags", "Features"))})
    name = hashlib.sha256("\n".join([platform.machine(), platform.processor(), *kind]).encode()).hexdigest()[:12]
    cache = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(cache).expanduser() / "paperclip-mbrl" / "compiled" / name


def _is_writable(path: Path) -> bool:
    """Tell whether a folder can be written, or made."""
    there = next(part for part in (path, *path.parents) if part.exists())
    return os.access(there, os.W_OK)


def default_parallel() -> int:
    """Return how many workers suit this machine: one for each core, or one for all accelerators."""
    return 1 if is_accelerated() else max(1, len(os.sched_getaffinity(0)))


def processor_seconds(process: int) -> float | None:
    """Return the processor time that a process has used; None where the system does not tell."""
    try:
        words = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
        return (int(words[11]) + int(words[12])) / os.sysconf("SC_CLK_TCK")
    except (OSError, ValueError, IndexError):
        return None
