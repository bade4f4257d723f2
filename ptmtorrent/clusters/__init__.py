"""Clusters: `description` reads the file that describes one, `parsl_pool` runs functions on its workers.

In comes the file of `clone --cluster FILE`; out comes a pool that calls functions of this program in threads, in
processes of this machine, or in Slurm jobs. `parsl_pool` is the only module that imports Parsl. A lost worker is
reported as a lost call, never as a failed package: the caller submits the work again.
"""
