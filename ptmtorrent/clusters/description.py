"""The file that describes a cluster: `clone --cluster FILE`.

::

    executor = "slurm"      # or "threads", "processes": workers on this machine
    workers = 16

    [slurm]
    partition = "io"
    walltime = "24:00:00"
"""

import re
from pathlib import Path
from typing import Annotated, Literal

import msgspec

from ptmtorrent.config import MAX_FILE_BYTES
from ptmtorrent.disk.durable import read_regular
from ptmtorrent.errors import ConfigError

MAX_WORKERS = 64
"""The hubs that state their limits allow at least 100 requests per window, so every worker can send one and learn the
limit."""

_Line = Annotated[str, msgspec.Meta(max_length=4096, pattern=r"\A[^\r\n\0]*\Z")]
_Word = Annotated[str, msgspec.Meta(pattern=r"\A[A-Za-z0-9_.,:-]{1,100}\Z")]
_Workers = Annotated[int, msgspec.Meta(ge=1, le=MAX_WORKERS)]
_REGEX = re.compile(r"Expected `str` matching regex '.*' - at `\$\.(.*)`", re.DOTALL)


class Slurm(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Slurm jobs of one node each, with `workers_per_node` workers, for `walltime` (`HH:MM:SS`).

    `options` are lines for the head of the batch script (`#SBATCH --qos=low`), `setup` are commands for its shell
    (`module load git-lfs`).
    """

    partition: _Word | None = None
    account: _Word | None = None
    walltime: Annotated[str, msgspec.Meta(pattern=r"\A(\d+-)?\d{1,3}:\d\d:\d\d\Z")] = "12:00:00"
    workers_per_node: _Workers = 1
    cores_per_node: Annotated[int, msgspec.Meta(ge=1, le=4096)] | None = None
    options: tuple[_Line, ...] = ()
    setup: tuple[_Line, ...] = ()


class Cluster(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Total number of workers and what runs them; they connect to this machine at `address` (None: found by trial)."""

    executor: Literal["threads", "processes", "slurm"]
    workers: _Workers
    address: _Word | None = None
    slurm: Slurm = Slurm()

    @property
    def nodes(self) -> int:
        """Number of Slurm nodes that are requested."""
        return -(-self.workers // self.slurm.workers_per_node)

    @property
    def max_workers(self) -> int:
        """Largest number of workers at a time: nodes are filled."""
        return self.nodes * self.slurm.workers_per_node if self.executor == "slurm" else self.workers


def read_cluster(path: Path) -> Cluster:
    """Return the cluster that the file at `path` describes.

    Raises:
        ConfigError: the file cannot be read, is not TOML, or has an invalid key or value; names file and key.
    """
    hint = "see docs/guides/clusters.md for its format"
    try:
        data = read_regular(path, MAX_FILE_BYTES + 1)
        if len(data) > MAX_FILE_BYTES:
            raise ConfigError(f"the cluster file `{path}` is larger than {MAX_FILE_BYTES} bytes", hint=hint)
        cluster = msgspec.toml.decode(data, type=Cluster)
    except OSError as error:
        raise ConfigError(f"the cluster file `{path}` cannot be read: {error.strerror}", hint=hint) from error
    except (msgspec.DecodeError, ValueError, RecursionError) as error:
        problem = _REGEX.sub(r"`\1` has an invalid value", str(error))
        raise ConfigError(f"the cluster file `{path}` is not valid: {problem}", hint=hint) from error
    if cluster.executor != "slurm" and (cluster.slurm != Slurm() or cluster.address is not None):
        raise ConfigError(
            f"the cluster file `{path}` is not valid: `[slurm]` and `address` do not apply to `{cluster.executor}`",
            hint="remove them, or set `executor` to `slurm`",
        )
    return cluster
