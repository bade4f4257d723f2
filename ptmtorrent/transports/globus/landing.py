"""The landing folder of a job: made by the collection, then looked for on this machine, before any byte moves.

`globus_here` says which local folder is the collection's `/`. If that is wrong, a task succeeds and its files lie
somewhere else: whole packs would be transferred in vain, again with every run.
"""

from contextlib import suppress
from pathlib import Path

from ptmtorrent.errors import ConfigError, NotFound, PtmError
from ptmtorrent.stop import Stop
from ptmtorrent.transports.globus.hints import HERE_HINT
from ptmtorrent.transports.globus.jobs import Job
from ptmtorrent.transports.globus.locations import INCOMING, LocalCollection
from ptmtorrent.transports.globus.run_job import JobContext
from ptmtorrent.transports.globus.wait import wait_for_task

LOOK_AGAIN_SECONDS = 1.0
"""A network filesystem may show a new folder late."""


def make_landing(job: Job, here: LocalCollection, context: JobContext, stop: Stop) -> None:
    """Have the collection make the landing folder of `job`, and look for it on this machine.

    Raises:
        ConfigError: it is not there, or Globus does not know the collection: `globus_here` is wrong.
        AuthError: a login, a consent or a permission is missing.
        TransportError: Globus cannot be reached.
    """
    try:
        is_new = context.service.make_folder(here.collection, f"/{INCOMING}")
        context.service.make_folder(here.collection, f"/{INCOMING}/{job.job}")
    except NotFound as error:
        raise ConfigError(f"`globus_here` names a collection without that folder: {error}", hint=HERE_HINT) from error
    local = here.folder / INCOMING / job.job
    if _appears(local) or context.wait_policy.pause(stop, LOOK_AGAIN_SECONDS) or _appears(local):
        return
    left = remove_there(job, here, context, stop, whole=is_new)
    raise ConfigError(
        f"`{local}` does not exist, although collection `{here.collection}` has just made its `/{INCOMING}/{job.job}`:"
        f" `globus_here` (`{here}`) names another folder than the collection's `/`; nothing was transferred{left}",
        hint=HERE_HINT,
    )


def nothing_landed(job: Job, here: LocalCollection, context: JobContext, stop: Stop) -> ConfigError:
    """Remove from the collection what `job` delivered out of sight; return the error that says so."""
    looked_for = here.folder / job.items[0].landing.lstrip("/")
    left = remove_there(job, here, context, stop)
    return ConfigError(
        f"{job.name} succeeded, but nothing of it is on this machine: `globus_here` is `{here}`, and there is no"
        f" `{looked_for}`{left}",
        hint=HERE_HINT,
    )


def remove_there(job: Job, here: LocalCollection, context: JobContext, stop: Stop, *, whole: bool = False) -> str:
    """Have the collection delete the landing folder of `job`, and wait for that; return what is left, in words.

    With `whole`, the folder above it goes too, if it holds nothing else.
    """
    path = f"/{INCOMING}/{job.job}"
    try:
        if whole and set(context.service.list(here.collection, f"/{INCOMING}")) <= {job.job}:
            path = f"/{INCOMING}"
        task = context.service.delete(here.collection, [path])
        end = wait_for_task(context.service, task, stop, context.wait_policy, lambda _: None).end
    except PtmError as error:
        return f"; `{path}` of the collection was not deleted: {error.message}"
    return "" if end == "succeeded" else f"; `{path}` of the collection is being deleted by task `{task}`"


def leave_landing(job: Job, here: LocalCollection) -> None:
    """Remove the landing folder of a job without a task, and its parent, if they are empty."""
    for folder in (here.folder / INCOMING / job.job, here.folder / INCOMING):
        with suppress(OSError):
            folder.rmdir()


def _appears(folder: Path) -> bool:
    """Return whether `folder` exists; its parent is read, because a client of NFS may remember that it did not."""
    with suppress(OSError):
        return any(entry.name == folder.name for entry in folder.parent.iterdir())
    return False
