"""The clients: this program and the official ones, each from the address of its hub into an empty folder."""

import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from bench_clone.serving import NAME

_BIN = Path(sys.executable).parent


@dataclass(frozen=True)
class Address:
    """The addresses of the package: the git remotes, and a Hugging Face hub."""

    git: str
    hub: str


@dataclass(frozen=True)
class System:
    """One client: its commands, one after the other, given the address and the folder for all of its bytes."""

    name: str
    commands: Callable[[Address, Path], list[list[str]]]


def environment(folder: Path) -> dict[str, str]:
    """Return the environment of the clients, without the user's own settings."""
    return {
        "PATH": os.environ["PATH"],
        "LC_ALL": "C.UTF-8",
        "HOME": str(folder),
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_TERMINAL_PROMPT": "0",
        "GIT_LFS_SKIP_SMUDGE": "1",
        "HF_HUB_DISABLE_XET": "1",
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
    }


def ours_git(at: Address, folder: Path) -> list[list[str]]:
    """Clone the git remote."""
    return [_ours(folder, "git", at.git)]


def ours_hub(at: Address, folder: Path) -> list[list[str]]:
    """Clone from the Hugging Face hub."""
    return [_ours(folder, "huggingface", at.hub)]


def git_lfs(at: Address, folder: Path) -> list[list[str]]:
    """Clone, then pull, as git-lfs and the hubs document it."""
    here = ["git", "-C", str(folder / "clone")]
    return [
        ["git", "clone", "--quiet", f"{at.git}/{NAME}", str(folder / "clone")],
        [*here, "lfs", "install", "--local"],
        [*here, "lfs", "pull"],
    ]


def hf_download(at: Address, folder: Path) -> list[list[str]]:
    """Download the package into a cache, as `hf` does by default."""
    return [
        ["env", f"HF_ENDPOINT={at.hub}", f"HF_HOME={folder}", str(_BIN / "hf"), "download", NAME, "--quiet"],
    ]


def _ours(folder: Path, hub: str, endpoint: str) -> list[str]:
    program = [str(_BIN / "ptmtorrent"), "--home", str(folder / "home"), "--format", "quiet"]
    return [*program, "clone", hub, "--endpoint", endpoint, "--id", NAME]


SYSTEMS = (
    System("ours, from git with LFS", ours_git),
    System("git clone, git lfs pull", git_lfs),
    System("ours, from the hub", ours_hub),
    System("hf download", hf_download),
)
