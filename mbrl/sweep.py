"""Running many trials: by processes on this machine, by Ray, or by Slurm.

Whoever works goes through the same list and claims what is free (see `mbrl.store`), so that several launchers on one
folder share the work, and a trial is computed once whoever is asked. A trial that fails does not keep others from being
computed; one whose worker died is tried again and goes on from its last checkpoint.

    local    spawned processes, watched: one that dies, or stops using its processor, is replaced
    ray      Ray tasks with retries, on the cluster of RAY_ADDRESS or on this machine
    slurm    submitit jobs that are requeued when they are preempted; on this machine where there is no Slurm
"""

import multiprocessing
import os
import secrets
import time
import traceback
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from multiprocessing import connection
from pathlib import Path
from typing import Any

from rich.console import Console

from mbrl import interrupt
from mbrl.process import processor_seconds
from mbrl.progress import Message, Progress
from mbrl.store import Store
from mbrl.trials import Trial

MOST_ATTEMPTS = 3


def work_through(
    root: Path, trials: Sequence[Trial], options: Any, tell: Callable[[Message], None], start: int = 0
) -> None:
    """Compute every trial that nobody else has, waiting for those that others are at.

    Raises:
        Stopped: somebody asked to stop.
    """
    from mbrl.experiments.work import attempt

    store = Store(root)
    waiting = [*range(start, len(trials)), *range(start)]
    while waiting:
        left = len(waiting)
        for number in list(waiting):
            interrupt.check()
            tell(Message("begins", number))
            try:
                manifest = attempt(store, trials[number], options, lambda text, n=number: tell(Message("at", n, text)))
            except interrupt.Stopped:
                raise
            except BrokenPipeError:
                raise
            except Exception as error:  # Whatever went wrong here need not go wrong in the others.
                if os.environ.get("PAPERCLIP_TRACEBACK"):
                    traceback.print_exc()
                tell(Message("failed", number, f"{type(error).__name__}: {error}".split("\n")[0]))
                waiting.remove(number)
                continue
            if manifest is None:
                tell(Message("waits", number))
            else:
                tell(Message("done", number, manifest.digest))
                waiting.remove(number)
        if len(waiting) == left:
            time.sleep(0.5)


def sweep(
    trials: Sequence[Trial],
    root: Path,
    options: Any,
    backend: str,
    max_parallel: int,
    variables: dict[str, str],
    console: Console,
    trained: bool = False,
) -> dict[int, str]:
    """Compute all trials that are not finished; return the digests of all that are then, by number.

    Args:
        trials: what to compute.
        root: folder of the store.
        options: see `mbrl.experiments.work.Options`.
        backend: one of `BACKENDS`.
        max_parallel: trials at once, at most.
        variables: environment of the workers (see `mbrl.process`).
        console: where progress is shown.
        trained: the store has what agents have learnt already, so that they are deployed alone.

    Raises:
        Stopped: somebody asked to stop, and the workers have saved what they were at.
    """
    run = {"local": _local, "ray": _ray, "slurm": _slurm}[backend]
    with Progress(trials, console, trained=trained) as progress:
        run(progress, Path(root).absolute(), options, max(1, min(max_parallel, len(trials))), variables)
    interrupt.check()
    return progress.done


# Local: spawned processes.


@dataclass
class _Worker:
    process: Any
    pipe: Any
    trial: int | None = None
    idle_since: float = 0.0
    used: float = 0.0


STALLED = 180.0  # seconds without using the processor, in the middle of a trial


def _local(progress: Progress, root: Path, options: Any, count: int, variables: dict[str, str]) -> None:
    context = multiprocessing.get_context("spawn")
    attempts: Counter[int] = Counter()
    workers: list[_Worker] = []

    def start(number: int) -> None:
        mine, theirs = context.Pipe(duplex=False)
        trials = list(progress.trials)
        process = context.Process(
            target=_local_worker, args=(root, trials, options, theirs, variables, number % len(trials)), daemon=False
        )
        process.start()
        theirs.close()
        workers.append(_Worker(process, mine, idle_since=time.monotonic()))

    for number in range(count):
        start(number)
    passed_on = False
    while workers:
        if interrupt.asked() and not passed_on:
            progress.console.print("Stops: every worker saves what it is at.")
            for worker in workers:
                worker.process.terminate()
            passed_on = True
        ready: Any = connection.wait([worker.pipe for worker in workers], timeout=1.0)
        for pipe in ready:
            worker = next(one for one in workers if one.pipe is pipe)
            try:
                message = pipe.recv()
            except (EOFError, OSError):
                worker.process.join()
                workers.remove(worker)
                progress.doing.pop(worker.process.pid, None)
                status = worker.process.exitcode
                if status not in (0, interrupt.EXIT_STATUS) and not interrupt.asked():
                    _replace(progress, worker, attempts, start, f"ended with status {status}")
                continue
            worker.trial = message.trial if message.kind in ("begins", "at") else None
            worker.idle_since = time.monotonic()
            progress.tell(worker.process.pid, message)
        for worker in workers:
            if worker.trial is not None and _has_stalled(worker):
                progress.console.print(f"{progress.trials[worker.trial].label}: hangs, its worker is replaced")
                worker.process.kill()


def _replace(progress: Progress, worker: _Worker, attempts: Counter, start, why: str) -> None:
    """Start another worker for one that died, unless its trial has been the death of several."""
    if worker.trial is None:
        raise RuntimeError(f"a worker {why} before it began a trial")
    attempts[worker.trial] += 1
    label = progress.trials[worker.trial].label
    if attempts[worker.trial] < MOST_ATTEMPTS:
        progress.console.print(f"{label}: its worker {why}; another goes on", highlight=False)
        start(worker.trial)
    else:
        progress.tell(worker.process.pid, Message("failed", worker.trial, f"its worker {why} {MOST_ATTEMPTS} times"))
        if len(progress.done) + len(progress.failed) < len(progress.trials):
            start(worker.trial + 1)


def _has_stalled(worker: _Worker) -> bool:
    """Tell whether a worker has used no processor time for long: XLA on CPUs can wait for itself for ever."""
    used = processor_seconds(worker.process.pid)
    if used is None or used > worker.used + 0.05:
        worker.used, worker.idle_since = used or 0.0, time.monotonic()
    return time.monotonic() - worker.idle_since > STALLED


def _local_worker(root: Path, trials: list[Trial], options: Any, pipe: Any, variables: dict, start: int) -> None:
    """Be a worker process: nothing that needs JAX has been imported yet."""
    os.environ.update(variables)
    with interrupt.listening():
        import envs  # noqa: F401  (before JAX starts)

        try:
            work_through(root, trials, options, pipe.send, start)
        except interrupt.Stopped:
            raise SystemExit(interrupt.EXIT_STATUS) from None
        except (BrokenPipeError, KeyboardInterrupt):
            raise SystemExit(1) from None


# Ray and Slurm: one task or job for each trial.


@dataclass(frozen=True)
class Job:
    """A trial as a function without arguments, for engines that run such on other machines."""

    root: Path
    trial: Trial
    options: Any
    variables: dict[str, str]

    def __call__(self) -> str:
        """Compute the trial and return its digest."""
        os.environ.update(self.variables)
        import envs  # noqa: F401  (before JAX starts)
        from mbrl.experiments.work import attempt

        while True:
            manifest = attempt(Store(self.root), self.trial, self.options)
            if manifest is not None:
                return manifest.digest
            time.sleep(0.5)

    def checkpoint(self) -> Any:
        """Tell submitit to run the same job again; it goes on from the trial's last checkpoint."""
        from submitit.helpers import DelayedSubmission

        return DelayedSubmission(self)


def _ray(progress: Progress, root: Path, options: Any, count: int, variables: dict[str, str]) -> None:
    try:
        import ray
    except ImportError:
        raise ValueError("backend: expected the extra `ray` to be installed: pip install -e '.[ray]'") from None
    where: dict[str, Any] = {}
    if not os.environ.get("RAY_ADDRESS"):  # A cluster of one's own, with a token that is forgotten with it.
        where = {"num_cpus": count, "include_dashboard": False}
        os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))
    ray.init(log_to_driver=False, logging_level="ERROR", runtime_env={"env_vars": variables}, **where)
    try:
        run: Any = ray.remote(num_cpus=1, max_retries=MOST_ATTEMPTS, max_calls=0)(lambda job: job())
        waiting = {
            run.remote(Job(root, trial, options, variables)): number for number, trial in enumerate(progress.trials)
        }
        while waiting and not interrupt.asked():
            progress.doing["ray"] = f"{len(waiting)} trials are with Ray"
            progress.show()
            for reference in ray.wait(list(waiting), timeout=1.0)[0]:
                number = waiting.pop(reference)
                _settle(progress, number, lambda reference=reference: ray.get(reference))
    finally:
        ray.shutdown()


def _slurm(progress: Progress, root: Path, options: Any, count: int, variables: dict[str, str]) -> None:
    try:
        import submitit
    except ImportError:
        raise ValueError("backend: expected the extra `slurm` to be installed: pip install -e '.[slurm]'") from None
    executor = submitit.AutoExecutor(folder=str(root / "slurm"))
    executor.update_parameters(timeout_min=24 * 60, slurm_array_parallelism=count, cpus_per_task=1)
    unfinished = list(enumerate(progress.trials))
    waiting: dict[Any, int] = {}
    try:
        while (unfinished or waiting) and not interrupt.asked():
            room = len(unfinished) if executor.cluster == "slurm" else count - len(waiting)
            for number, trial in unfinished[: max(0, room)]:
                waiting[executor.submit(Job(root, trial, options, variables))] = number
            unfinished = unfinished[max(0, room) :]
            progress.doing["slurm"] = f"{len(waiting)} jobs are with {executor.cluster}"
            progress.show()
            for job in [job for job in waiting if job.done()]:
                _settle(progress, waiting.pop(job), job.result)
            time.sleep(0.5)
    finally:
        for job in waiting:
            job.cancel(check=False)


def _settle(progress: Progress, number: int, result: Callable[[], str]) -> None:
    try:
        progress.tell("engine", Message("done", number, result()))
    except Exception as error:  # Whatever the engine makes of a failure.
        lines = str(error).strip().splitlines()
        progress.tell("engine", Message("failed", number, lines[-1] if lines else type(error).__name__))
