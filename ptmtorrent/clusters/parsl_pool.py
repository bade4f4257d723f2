"""Workers by Parsl: threads, processes of this machine, or jobs of Slurm. The only module that imports Parsl.

Nothing it logs or is told leaves the machines of the cluster; what these say to each other is encrypted.
Source: Parsl documentation, "Configuration" and `parsl.executors.HighThroughputExecutor`.
"""

import shlex
import shutil
import sys
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from ptmtorrent.clusters.description import Cluster
from ptmtorrent.errors import ConfigError

HEARTBEAT_SECONDS = 5
LOST_AFTER_SECONDS = 30
"""A node that was silent for so long is given up, and a worker whose coordinator was ends."""

_LABEL = "workers"


class ParslPool:
    """The workers of `cluster` while it is entered. Keys and logs lie in `folder`, which every node must see.

    Raises:
        ConfigError: Parsl is not installed, or cannot start what the cluster asks for.
    """

    def __init__(self, cluster: Cluster, folder: Path) -> None:
        self._cluster = cluster
        self._folder = folder
        self._stack = ExitStack()
        self._apps: dict[Callable[..., Any], Callable[..., Future[Any]]] = {}

    def __enter__(self) -> Self:
        try:
            from parsl.config import Config
            from parsl.dataflow.dflow import DataFlowKernel
        except ImportError as error:
            raise ConfigError("clusters need Parsl", hint="install it: pip install 'ptmtorrent[cluster]'") from error
        config = Config(
            executors=[_executor(self._cluster)],
            run_dir=str(self._folder),
            strategy="simple",
            strategy_period=2,
            usage_tracking=0,
            initialize_logging=False,
        )
        try:
            self._kernel = DataFlowKernel(config)
        except Exception as error:  # it raises whatever its parts raise
            raise ConfigError(f"the cluster could not be started: {error}") from error
        self._stack.callback(self._kernel.cleanup)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()
        shutil.rmtree(self._folder, ignore_errors=True)

    def submit(self, function: Callable[..., Any], argument: object) -> Future[Any]:
        """Have a worker call `function`, one at the top of a module, with an argument that can be pickled."""
        from parsl import python_app

        if function not in self._apps:
            self._apps[function] = python_app(function, data_flow_kernel=self._kernel, executors=[_LABEL])
        return self._apps[function](argument)

    @staticmethod
    def result(future: Future[Any]) -> Any:  # noqa: ANN401  # what the function returned
        """Return what a call that is done returned; None when its worker was lost.

        Raises:
            ConfigError: the cluster has no workers, or the call failed in a way that nobody foresaw.
        """
        from parsl.executors.high_throughput.errors import ManagerLost, WorkerLost

        try:
            return future.result()
        except (ManagerLost, WorkerLost):
            return None
        except Exception as error:  # it raises whatever its parts raise
            raise ConfigError(f"the cluster does not work: {type(error).__name__}: {error}") from error


def _executor(cluster: Cluster) -> Any:  # noqa: ANN401  # Parsl has no types
    if cluster.executor == "threads":
        from parsl.executors import ThreadPoolExecutor

        return ThreadPoolExecutor(label=_LABEL, max_threads=cluster.workers)
    from parsl.executors import HighThroughputExecutor

    programs = Path(sys.executable).parent
    here = cluster.executor == "processes"
    # The interchange would outlive a coordinator that is killed.
    follow = ["setpriv", "--pdeathsig", "TERM"] if shutil.which("setpriv") else []
    return HighThroughputExecutor(
        label=_LABEL,
        provider=_local(programs) if here else _slurm(cluster, programs),
        address="127.0.0.1" if here else cluster.address,
        max_workers_per_node=cluster.workers if here else cluster.slurm.workers_per_node,
        cores_per_worker=1e-3 if here else 1.0,
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
    nodes = -(-cluster.workers // slurm.workers_per_node)
    return SlurmProvider(
        partition=slurm.partition,
        account=slurm.account,
        walltime=slurm.walltime,
        cores_per_node=slurm.cores_per_node,
        scheduler_options=slurm.options,
        worker_init=f"{_path(programs)}\n{slurm.setup}",
        exclusive=False,
        init_blocks=nodes,
        min_blocks=0,
        max_blocks=nodes,
    )


def _path(programs: Path) -> str:
    return f'export PATH={shlex.quote(str(programs))}:"$PATH"'
