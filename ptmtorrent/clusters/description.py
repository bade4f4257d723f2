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

from ptmtorrent.errors import ConfigError

MAX_WORKERS = 64
"""No hub that tells its limits allows fewer requests in a window (100): every worker may ask once and be told."""

_Line = Annotated[str, msgspec.Meta(max_length=4096, pattern=r"\A[^\r\n\0]*\Z")]
_Word = Annotated[str, msgspec.Meta(pattern=r"\A[A-Za-z0-9_.,:-]{1,100}\Z")]
_Workers = Annotated[int, msgspec.Meta(ge=1, le=MAX_WORKERS)]
_REGEX = re.compile(r"Expected `str` matching regex '.*' - at `\$\.(.*)`", re.DOTALL)


class Slurm(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What Slurm is asked for: jobs of one node each, with `workers_per_node` workers, for `walltime` (`HH:MM:SS`).

    `options` are lines for the head of the batch script (`#SBATCH --qos=low`), `setup` those for its shell
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
    """The number of workers and their executor. They reach this machine at `address`, None: at any that works."""

    executor: Literal["threads", "processes", "slurm"]
    workers: _Workers
    address: _Word | None = None
    slurm: Slurm = Slurm()

    @property
    def nodes(self) -> int:
        """How many nodes Slurm is asked for."""
        return -(-self.workers // self.slurm.workers_per_node)

    @property
    def most(self) -> int:
        """How many workers there may be at a time: nodes are filled."""
        return self.nodes * self.slurm.workers_per_node if self.executor == "slurm" else self.workers


def read_cluster(path: Path) -> Cluster:
    """Read the file at `path`.

    Raises:
        ConfigError: it cannot be read, is no TOML, or says what no cluster can have; names file and key.
    """
    hint = "docs/guides/clusters.md shows what it may say"
    try:
        cluster = msgspec.toml.decode(path.read_bytes(), type=Cluster)
    except OSError as error:
        raise ConfigError(f"the cluster's file `{path}` cannot be read: {error.strerror}", hint=hint) from error
    except (msgspec.DecodeError, ValueError) as error:
        said = _REGEX.sub(r"`\1` cannot be that", str(error))
        raise ConfigError(f"the cluster's file `{path}` cannot be used: {said}", hint=hint) from error
    if cluster.executor != "slurm" and (cluster.slurm != Slurm() or cluster.address is not None):
        said = f"`[slurm]` and `address` say nothing to `{cluster.executor}`"
        raise ConfigError(f"the cluster's file `{path}` cannot be used: {said}", hint="leave them out")
    return cluster
