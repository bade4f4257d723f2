"""Those who do the work of a clone in this process's place: the workers of a cluster."""

from collections.abc import Callable
from contextlib import ExitStack
from typing import NamedTuple

from ptmtorrent.clusters.description import Cluster
from ptmtorrent.clusters.parsl_pool import ParslPool, check_here
from ptmtorrent.config import MIN_MEMORY
from ptmtorrent.errors import UsageError
from ptmtorrent.hubs.port import Hub
from ptmtorrent.hubs.registry import HubOptions
from ptmtorrent.model.sizes import parse_size
from ptmtorrent.paths import Home
from ptmtorrent.progress import Meter
from ptmtorrent.state.clone_journal import Work
from ptmtorrent.stop import Stop
from ptmtorrent.workflows.clone.cluster.coordinator import Coordinator
from ptmtorrent.workflows.clone.cluster.worker import Unit, close_workers, without_secrets
from ptmtorrent.workflows.clone.leases import Claims
from ptmtorrent.workflows.clone.outcomes import Outcomes
from ptmtorrent.workflows.clone.partial_files import gather_parts


class Crew(NamedTuple):
    """A cluster, what its workers make the hub's adapter with, and what each does and takes."""

    cluster: Cluster
    options: HubOptions
    jobs: int
    max_memory: int

    def check(self) -> None:
        """See that there can be such a crew, before anything is asked of the hub.

        Raises:
            ConfigError: what it needs is not installed; UsageError: there is too little memory.
        """
        check_here(self.cluster)
        sharers, least = self._sharers, parse_size(MIN_MEMORY)
        if self.max_memory < sharers * least:
            raise UsageError(
                f"{sharers} workers are threads that share `--max-memory`, and each of them needs {MIN_MEMORY}",
                hint=f"give `--max-memory {sharers * least >> 20}MiB`, or fewer `workers` in the cluster's file",
            )

    @property
    def _sharers(self) -> int:
        """How many workers share the memory of this process."""
        return self.cluster.workers if self.cluster.executor == "threads" else 1

    def work(  # noqa: PLR0913  # the ends of a pipeline
        self,
        hub: Hub,
        home: Home,
        listed: str,
        *,
        claims: Claims,
        outcomes: Outcomes,
        meter: Meter,
        count: Callable[[int], None],
        stop: Stop,
    ) -> None:
        """Have the packages that are left of a run, which was `listed` then, worked; `count` hears of bytes moved.

        Raises:
            As `Coordinator.work`; ConfigError: the cluster cannot be started.
        """
        todo = claims.journal.tally(claims.run, "todo", "leased").packages
        if not todo:
            return
        known = hub.session.governor.windows.known()

        def unit_of(works: tuple[Work, ...]) -> Unit:
            return Unit(
                home=home.root,
                hub=hub.name,
                options=without_secrets(self.options),
                known=known,
                listed=listed,
                works=works,
                jobs=self.jobs,
                max_memory=self.max_memory // self._sharers,
                share=self.cluster.most,
            )

        with ExitStack() as stack:
            stack.callback(gather_parts, home.spool)
            stack.callback(close_workers)
            Coordinator(
                pool=stack.enter_context(ParslPool(self.cluster, home.cluster)),
                workers=self.cluster.most,
                todo=todo,
                unit_of=unit_of,
                hub=hub,
                spool=home.spool,
                claims=claims,
                outcomes=outcomes,
                meter=meter,
                count=count,
            ).work(stop)
