"""Run a clone on the workers of a cluster: check the cluster, start its pool, and hand the run to the coordinator."""

from collections.abc import Callable
from contextlib import ExitStack
from typing import NamedTuple

from ptmtorrent.clusters.description import Cluster
from ptmtorrent.clusters.parsl_pool import ParslPool, check_requirements, check_scheduler
from ptmtorrent.config import MIN_MEMORY
from ptmtorrent.errors import UsageError
from ptmtorrent.hubs.port import Hub
from ptmtorrent.hubs.registry import HubOptions
from ptmtorrent.model.text import parse_size
from ptmtorrent.paths import Home
from ptmtorrent.progress import Meter
from ptmtorrent.state.clone_journal import Work
from ptmtorrent.stop import Stop
from ptmtorrent.workflows.clone.cluster.coordinator import Coordinator
from ptmtorrent.workflows.clone.cluster.worker import WorkUnit, close_workers, without_secrets
from ptmtorrent.workflows.clone.download_queue import collect_parts
from ptmtorrent.workflows.clone.outcomes import Leases, Outcomes


class ClusterRunner(NamedTuple):
    """A cluster, the options of its workers' hub adapters, and the `jobs` and memory of each worker."""

    cluster: Cluster
    options: HubOptions
    jobs: int
    max_memory: int

    def check(self) -> None:
        """Check the cluster before the first request to the hub.

        Raises:
            ConfigError: a library or program that it needs is missing, or the scheduler refuses its jobs.
            UsageError: the memory is too small for its workers.
        """
        check_requirements(self.cluster)
        sharing, least = self._sharing, parse_size(MIN_MEMORY)
        if self.max_memory < sharing * least:
            raise UsageError(
                f"{sharing} workers are threads that share `--max-memory`, and each of them needs {MIN_MEMORY}",
                hint=f"give `--max-memory {sharing * least >> 20}MiB`, or fewer `workers` in the cluster's file",
            )
        check_scheduler(self.cluster)

    @property
    def _sharing(self) -> int:
        """The number of workers that share the memory of this process."""
        return self.cluster.workers if self.cluster.executor == "threads" else 1

    def run(  # noqa: PLR0913  # the ends of a pipeline
        self,
        hub: Hub,
        home: Home,
        listed: str,
        *,
        leases: Leases,
        outcomes: Outcomes,
        meter: Meter,
        count: Callable[[int], None],
        stop: Stop,
    ) -> None:
        """Capture the remaining packages of a run whose listing is of the time `listed`; `count` counts bytes moved.

        Raises:
            As `Coordinator.run`; ConfigError: the cluster cannot be started.
        """
        todo = leases.journal.tally(leases.run, "todo", "leased").packages
        if not todo:
            return
        known = hub.session.rate_limiter.windows.known()

        def unit_of(works: tuple[Work, ...]) -> WorkUnit:
            return WorkUnit(
                home=home.root,
                hub=hub.name,
                options=without_secrets(self.options),
                known=known,
                listed=listed,
                works=works,
                jobs=self.jobs,
                max_memory=self.max_memory // self._sharing,
                share=self.cluster.max_workers,
            )

        with ExitStack() as stack:
            stack.callback(collect_parts, home.spool)
            stack.callback(close_workers)
            Coordinator(
                pool=stack.enter_context(ParslPool(self.cluster, home.cluster)),
                workers=self.cluster.max_workers,
                todo=todo,
                unit_of=unit_of,
                hub=hub,
                spool=home.spool,
                leases=leases,
                outcomes=outcomes,
                meter=meter,
                count=count,
            ).run(stop)
