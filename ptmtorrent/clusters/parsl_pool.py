"""Workers run by Parsl: threads, processes of this machine, or Slurm jobs. The only module that imports Parsl.

Logs and data stay on the machines of the cluster (usage tracking is off); traffic between them is encrypted.
Source: Parsl documentation, "Configuration" and `parsl.executors.HighThroughputExecutor`.
"""

import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self

from ptmtorrent.clusters.description import Cluster
from ptmtorrent.errors import ConfigError, PtmError
from ptmtorrent.stop import RESUME_HINT

HEARTBEAT_SECONDS = 5
LOST_AFTER_SECONDS = 30
"""A node without a heartbeat for this long counts as lost; a worker without one from its coordinator exits."""

ANSWER_SECONDS = 15
"""Wait for the scheduler's judgement of a job before any is submitted."""

MAX_SENTENCES = 4
_SLURM = re.compile(r"\b(?:sbatch|srun|scancel|squeue|slurmstepd|slurmd|slurmctld): [^\n\r]{1,300}")
_MAY_PASS = re.compile(r"not available|inactive|drain|busy|timed out", re.IGNORECASE)
_LABEL = "workers"


class LostWorker(NamedTuple):
    """A worker that was lost with its call, and the node it was on."""

    node: str


class ParslPool:
    """A context manager for the workers of `cluster`. Keys and logs are in `folder`, which all nodes must share.

    Where the cluster failed, or a worker was lost, the logs stay, and the error says where.

    Raises:
        ConfigError: Parsl is not installed, or cannot start the workers.
    """

    def __init__(self, cluster: Cluster, folder: Path) -> None:
        self._cluster = cluster
        self._folder = folder
        self._stack = ExitStack()
        self._keeps_logs = False
        self._apps: dict[Callable[..., Any], Callable[..., Future[Any]]] = {}

    def __enter__(self) -> Self:
        check_requirements(self._cluster)
        from parsl.config import Config
        from parsl.dataflow.dflow import DataFlowKernel

        self._executor = _executor(self._cluster)
        config = Config(
            executors=[self._executor],
            run_dir=str(self._folder),
            strategy="simple",
            strategy_period=2,
            usage_tracking=0,
            initialize_logging=False,
        )
        self._stack.callback(self._clear)
        try:
            self._kernel = DataFlowKernel(config)
        except Exception as error:  # Parsl passes on any exception of its parts
            self._keeps_logs = True
            self._stack.close()
            raise ConfigError(f"the cluster could not be started: {_words_of(error)}", hint=self._where) from error
        self._stack.callback(self._clean_up)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def submit(self, function: Callable[..., Any], argument: object) -> Future[Any]:
        """Submit a call of `function`, which must be at the top of a module, with an argument that can be pickled."""
        from parsl import python_app

        if function not in self._apps:
            self._apps[function] = python_app(function, data_flow_kernel=self._kernel, executors=[_LABEL])
        return self._apps[function](argument)

    def check(self) -> None:
        """Check that Parsl's interchange, the process that forwards calls to workers, is running.

        Raises:
            ConfigError: it has exited, so no call would ever return.
        """
        if (code := self._end_of_interchange()) is not None:
            self._keeps_logs = True
            raise ConfigError(
                f"the process that forwards work to the cluster's workers has exited (exit code {code})",
                hint=f"{RESUME_HINT}; {self._where}",
            )

    @property
    def _where(self) -> str:
        return f"the logs of scheduler and workers are in `{self._folder}` until the next clone"

    def _clear(self) -> None:
        """Remove keys and logs, or the keys alone."""
        if self._keeps_logs:
            for keys in self._folder.glob("**/certificates"):
                shutil.rmtree(keys, ignore_errors=True)
            return
        shutil.rmtree(self._folder, ignore_errors=True)

    def _end_of_interchange(self) -> int | None:
        interchange = getattr(self._executor, "interchange_proc", None)
        code: int | None = None if interchange is None else interchange.poll()
        return code

    def _clean_up(self) -> None:
        if self._end_of_interchange() is None:
            self._kernel.cleanup()
            return
        # Parsl's own cleanup would wait forever for an answer; its threads that wait already end with this process.
        self._executor.provider.cancel(list(self._executor.blocks_to_job_id.values()))

    def result(self, future: Future[Any]) -> Any:  # noqa: ANN401  # what the function returned
        """Return the result of a finished call; a `LostWorker` if its worker was lost.

        Raises:
            ConfigError: the cluster has no workers.
            PtmError: the call raised an unexpected exception.
        """
        from parsl.executors.high_throughput.errors import ManagerLost, WorkerLost

        try:
            return future.result()
        except (ManagerLost, WorkerLost) as error:
            self._keeps_logs = True
            return LostWorker(str(error.hostname)[:100])
        except Exception as error:  # Parsl passes on any exception of its parts
            self._keeps_logs = True
            detail = _words_of(error)
            if type(error).__module__.startswith("parsl."):
                hint = "check the jobs in the scheduler, then run the same command again to resume"
                raise ConfigError(f"the cluster failed: {detail}", hint=f"{hint}; {self._where}") from error
            raise PtmError(f"a worker failed with an unexpected error: {detail}", hint=self._where) from error


def check_requirements(cluster: Cluster) -> None:
    """Check that this machine can start `cluster`, as far as is known beforehand.

    Raises:
        ConfigError: Parsl or Slurm is not installed.
    """
    try:
        import parsl  # noqa: F401
    except ImportError as error:
        raise ConfigError(
            "`--cluster` needs Parsl", hint="install it with this program: pip install '.[cluster]'"
        ) from error
    if cluster.executor == "slurm" and shutil.which("sbatch") is None:
        raise ConfigError(
            "the program `sbatch` is not installed", hint="start the clone where Slurm jobs are submitted"
        )


def check_scheduler(cluster: Cluster) -> None:
    """Have Slurm judge a job like those of `cluster`, without submitting it.

    A refusal that may pass, such as a partition that is down, is left to the queue.

    Raises:
        ConfigError: Slurm refuses such a job; the message has its own words.
    """
    if cluster.executor != "slurm":
        return
    slurm = cluster.slurm
    chosen = {"partition": slurm.partition, "account": slurm.account, "time": slurm.walltime}
    chosen["cpus-per-task"] = str(slurm.cores_per_node) if slurm.cores_per_node else None
    options = [f"--{name}={value}" for name, value in chosen.items() if value is not None]
    script = "\n".join(("#!/bin/sh", *slurm.options, "true\n"))
    command = ["sbatch", "--test-only", "--nodes=1", *options]
    try:
        asked = subprocess.run(command, input=script.encode(), capture_output=True, timeout=ANSWER_SECONDS, check=False)
        refused, answer = asked.returncode != 0, asked.stderr
    except subprocess.TimeoutExpired as error:
        refused, answer = error.stderr is not None, error.stderr or b""  # it repeats what it cannot do
    except OSError:
        return  # the submission itself will say more
    text = answer.decode(errors="replace").strip()
    said = _words_of_slurm(text) or text[:300]
    if refused and not _MAY_PASS.search(said):
        hint = "check `partition`, `account`, `walltime` and `options` in the cluster's file; `sinfo` lists partitions"
        raise ConfigError(f"Slurm refuses the jobs of this cluster: {said}", hint=hint)


def _words_of(error: Exception) -> str:
    """Return what the scheduler said, if `error` repeats it; else the first line of `error`."""
    said = _words_of_slurm(str(error))
    return said or f"{type(error).__name__}: {next(iter(str(error).strip().splitlines()), '')[:300]}"


def _words_of_slurm(text: str) -> str:
    """Return the messages of Slurm's programs in `text`, each once."""
    return "; ".join(list(dict.fromkeys(_SLURM.findall(text)))[:MAX_SENTENCES])


def _executor(cluster: Cluster) -> Any:  # noqa: ANN401  # Parsl has no types
    if cluster.executor == "threads":
        from parsl.executors import ThreadPoolExecutor

        return ThreadPoolExecutor(label=_LABEL, max_threads=cluster.workers)
    from parsl.executors import HighThroughputExecutor
    from parsl.jobs.error_handlers import windowed_error_handler

    programs = Path(sys.executable).parent
    here = cluster.executor == "processes"
    # Without it, the interchange would outlive a coordinator that is killed.
    follow = ["setpriv", "--pdeathsig", "TERM"] if shutil.which("setpriv") else []
    return HighThroughputExecutor(
        label=_LABEL,
        provider=_local(programs) if here else _slurm(cluster, programs),
        address="127.0.0.1" if here else cluster.address,
        max_workers_per_node=cluster.workers if here else cluster.slurm.workers_per_node,
        cores_per_worker=1e-3,  # the requested number of workers, whatever the number of cores
        block_error_handler=partial(windowed_error_handler, threshold=cluster.nodes + 2),
        interchange_launch_cmd=[*follow, sys.executable, str(programs / "interchange.py")],
        heartbeat_period=HEARTBEAT_SECONDS,
        heartbeat_threshold=LOST_AFTER_SECONDS,
    )


def _local(programs: Path) -> Any:  # noqa: ANN401  # Parsl has no types
    from parsl.providers import LocalProvider

    return LocalProvider(init_blocks=1, min_blocks=1, max_blocks=1, worker_init=_path(programs))


def _slurm(cluster: Cluster, programs: Path) -> Any:  # noqa: ANN401  # Parsl has no types
    from parsl.providers import SlurmProvider

    slurm = cluster.slurm
    return SlurmProvider(
        partition=slurm.partition,
        account=slurm.account,
        walltime=slurm.walltime,
        cores_per_node=slurm.cores_per_node,
        scheduler_options="\n".join(slurm.options),
        worker_init="\n".join((_path(programs), *slurm.setup)),
        exclusive=False,
        init_blocks=cluster.nodes,
        min_blocks=0,
        max_blocks=cluster.nodes,
    )


def _path(programs: Path) -> str:
    return f'export PATH={shlex.quote(str(programs))}:"$PATH"'
