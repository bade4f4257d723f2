"""A clone whose workers are jobs of the real Slurm, on one node on loopback."""

import time
from pathlib import Path

import pytest

from ptmtorrent.demo.package import Package, data_file
from ptmtorrent.demo.sample_hub import SampleHub
from tests.program import environment, ptmtorrent
from tests.simulators.slurm import DEADLINE_SECONDS, jobs, missing, slurm

pytestmark = [pytest.mark.interop, pytest.mark.skipif(missing() is not None, reason=str(missing()))]

CLUSTER = """
executor = "slurm"
workers = 2
address = "127.0.0.1"

[slurm]
partition = "local"
walltime = "00:10:00"
cores_per_node = 1
options = ["#SBATCH --comment=clone", "#SBATCH --nice=1"]
setup = ["export PTM_SETUP=1", "true"]
"""


def test_jobs_of_slurm_capture_everything_and_are_gone_afterwards(tmp_path: Path) -> None:
    count = 12
    packages = [Package(name=f"org/m{at}", files=(data_file("model.bin", bytes(5000 + at)),)) for at in range(count)]
    cluster = tmp_path / "cluster.toml"
    cluster.write_text(CLUSTER)
    with slurm(tmp_path / "slurm") as client, SampleHub(packages) as hub:
        clone = ("clone", "huggingface", "--endpoint", hub.endpoint, "--cluster", cluster)
        events = ptmtorrent(tmp_path / "home", *clone, env=environment(**client))
        until = time.monotonic() + DEADLINE_SECONDS
        while (left := jobs(client)) and time.monotonic() < until:
            time.sleep(0.2)
    log = (tmp_path / "slurm/slurmctld.out").read_text()

    assert (events[-1]["packages"], events[-1]["failed"]) == (count, 0)
    assert left == []
    assert log.count("sched: Allocate JobId") == 2
    assert ptmtorrent(tmp_path / "home", "verify", "--store")[-1]["failed"] == 0


def test_a_partition_that_slurm_does_not_have_is_refused_in_its_own_words(tmp_path: Path) -> None:
    cluster = tmp_path / "cluster.toml"
    cluster.write_text(CLUSTER.replace('partition = "local"', 'partition = "nowhere"'))
    with slurm(tmp_path / "slurm") as client, SampleHub([]) as hub:
        clone = ("clone", "huggingface", "--endpoint", hub.endpoint, "--cluster", cluster)
        events = ptmtorrent(tmp_path / "home", *clone, code=10, env=environment(**client))
        assert hub.log.exchanges("api") == []
        assert jobs(client) == []

    error = next(event for event in events if event["type"] == "error")
    assert "Slurm refuses the jobs of this cluster: " in error["message"]
    assert "nvalid partition" in error["message"]
    assert "`sinfo` lists partitions" in error["hint"]


def test_a_machine_without_a_configuration_of_slurm_is_told_in_its_own_words(tmp_path: Path) -> None:
    cluster = tmp_path / "cluster.toml"
    cluster.write_text(CLUSTER)
    with SampleHub([]) as hub:
        clone = ("clone", "huggingface", "--endpoint", hub.endpoint, "--cluster", cluster)
        events = ptmtorrent(tmp_path / "home", *clone, code=10)

    error = next(event for event in events if event["type"] == "error")
    assert "Slurm refuses the jobs of this cluster: sbatch: " in error["message"]
    assert "sbatch: fatal: Could not establish a configuration source" in error["message"]
