"""The file that describes a cluster: `clone --cluster FILE`.

::

    executor = "slurm"      # or "threads", "processes": workers on this machine
    workers = 16

    [slurm]
    partition = "io"
    walltime = "24:00:00"
"""

from pathlib import Path
from typing import Annotated, Literal

import msgspec

from ptmtorrent.errors import ConfigError

Line = Annotated[str, msgspec.Meta(max_length=4096, pattern=r"\A[^\r\n\0]*\Z")]
_Word = Annotated[str, msgspec.Meta(pattern=r"\A[A-Za-z0-9_.,:-]{1,100}\Z")]
_Workers = Annotated[int, msgspec.Meta(ge=1, le=1024)]


class Slurm(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What Slurm is asked for: jobs of one node each, with `workers_per_node` workers, for `walltime` (`HH:MM:SS`).

    `options` is a line for the head of the batch script (`#SBATCH --qos=low`), `setup` one for its shell
    (`module load git-lfs`).
    """

    partition: _Word | None = None
    account: _Word | None = None
    walltime: Annotated[str, msgspec.Meta(pattern=r"\A(\d+-)?\d{1,3}:\d\d:\d\d\Z")] = "12:00:00"
    workers_per_node: _Workers = 1
    cores_per_node: _Workers | None = None
    options: Line = ""
    setup: Line = ""


class Cluster(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """So many workers in all, and who runs them. They reach this machine at `address`; None: at whichever works."""

    executor: Literal["threads", "processes", "slurm"]
    workers: _Workers
    address: _Word | None = None
    slurm: Slurm = Slurm()


def read_cluster(path: Path) -> Cluster:
    """Read the file at `path`.

    Raises:
        ConfigError: it cannot be read, is no TOML, or says what no cluster can have; names file and key.
    """
    try:
        return msgspec.toml.decode(path.read_bytes(), type=Cluster)
    except OSError as error:
        raise ConfigError(f"the cluster's file `{path}` cannot be read: {error.strerror}") from error
    except (msgspec.DecodeError, ValueError) as error:
        raise ConfigError(
            f"the cluster's file `{path}` cannot be used: {error}", hint="docs/guides/clusters.md shows what it may say"
        ) from error
