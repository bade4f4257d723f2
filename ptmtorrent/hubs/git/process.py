"""The `git` program, run so that neither the user's settings nor the remote can make it do anything else.

A remote is hostile: it gets no hooks, no settings, no submodules, no credentials and no address but the one asked for.
What is fetched lies in a bare folder of ours and is read by object id alone; git never checks anything out.
Objects are not run through `fsck`: old histories break its rules, and every object is hashed when it is read.
"""

import os
import re
import resource
import signal
import subprocess
import tempfile
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from ptmtorrent.errors import AuthError, ConfigError, HubError, Interrupted, NotFound, PtmError
from ptmtorrent.hubs.client.status_errors import Unreachable

MAX_OUTPUT_BYTES = 64 << 20
"""No command run here has more to say (64 MiB); one that does is ended."""

MAX_SECONDS = 6 * 3600.0
STALL_SECONDS = 60

_KEPT = ("PATH", "http_proxy", "https_proxy", "no_proxy", "HTTPS_PROXY", "NO_PROXY", "SSL_CERT_FILE", "SSL_CERT_DIR")
_SETTINGS = (
    *("core.hooksPath=/dev/null", "credential.helper=", "core.askPass=true", "gc.auto=0", "maintenance.auto=false"),
    *(
        "core.fsmonitor=false",
        "submodule.recurse=false",
        "fetch.recurseSubmodules=false",
        "fetch.writeCommitGraph=false",
    ),
    *("fetch.unpackLimit=1", "protocol.version=2", "http.followRedirects=initial", "http.lowSpeedLimit=1"),
    f"http.lowSpeedTime={STALL_SECONDS}",
    "transfer.bundleURI=false",
    *("core.bigFileThreshold=64m", "core.deltaBaseCacheLimit=32m", "pack.threads=2"),
)
_LIMITS = ((resource.RLIMIT_DATA, 4 << 30), (resource.RLIMIT_FSIZE, 1 << 38))
"""Memory and length of a file that git, or what it starts, may take: 4 GiB and 256 GiB."""

_COMMIT = re.compile(r"[0-9a-f]{40}")
_POLL_SECONDS = 0.1
_SAID_BYTES = 400
_PIECE_BYTES = 1 << 20

_REASONS: tuple[tuple[str, type[PtmError]], ...] = (
    ("not our ref", NotFound),
    ("couldn't find remote ref", NotFound),
    ("does not appear to be a git", NotFound),
    ("not found", NotFound),
    ("does not exist", NotFound),
    ("Authentication failed", AuthError),
    ("could not read Username", AuthError),
    ("error: 403", AuthError),
    ("returned error: 30", HubError),
    ("not allowed", HubError),
    ("not supported", HubError),
)


def git_environment(environment: Mapping[str, str], protocols: str) -> dict[str, str]:
    """Return what git may know of the machine: the way to the network, and nothing of the user."""
    return {
        **{name: environment[name] for name in _KEPT if name in environment},
        "LC_ALL": "C",
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_CONFIG_GLOBAL": os.devnull,
        "GIT_ATTR_NOSYSTEM": "1",
        "GIT_TERMINAL_PROMPT": "0",
        "GIT_ALLOW_PROTOCOL": protocols,
        "GIT_NO_LAZY_FETCH": "1",
        "GIT_NO_REPLACE_OBJECTS": "1",
        "GIT_LFS_SKIP_SMUDGE": "1",
    }


@dataclass
class Git:
    """Runs git. `protocols` is what it may speak, as in `https:http`; what runs ends when `stopped` says so.

    `check_place` may refuse an address before git is sent there; where that redirects, git follows by itself.

    `credentials` are Authorization headers by the address (`https://host/`) below which they are sent; they reach git
    by its environment, because anyone may read the arguments of a process.
    """

    environment: Mapping[str, str]
    protocols: str = "https:http"
    credentials: Mapping[str, str] = field(default_factory=dict)
    stopped: Callable[[], bool] = lambda: False
    check_place: Callable[[str, str], None] = lambda _url, _what: None

    def head(self, url: str, what: str) -> str:
        """Return the commit that HEAD of the remote at `url` names.

        Raises:
            NotFound: nothing is there, or it is empty; AuthError, HubError, Unreachable: as git says.
        """
        found = self.names(url, ("HEAD",), what).get("HEAD")
        if found is None:
            raise NotFound(f"{what} has no commit")
        return found

    def names(self, url: str, wanted: Sequence[str], what: str) -> dict[str, str]:
        """Return which object each name of the remote at `url` stands for, of those `wanted` that it has.

        Raises:
            As `head`.
        """
        self.check_place(url, what)
        said = self.run(["ls-remote", "--quiet", "--", url, *wanted], what).decode(errors="replace")
        lines = (line.partition("\t") for line in said.splitlines())
        return {name: oid for oid, _, name in lines if name in wanted and _COMMIT.fullmatch(oid)}

    def fetch(self, url: str, commit: str, folder: Path, what: str, *, history: bool = False) -> None:
        """Make the bare `folder` hold `commit` with all its files; with `history` also every commit before it.

        The commit is asked for by its id, so that a branch that moved since the listing changes nothing.

        Raises:
            NotFound: the remote does not have that commit any more; else as `head`.
        """
        if not _COMMIT.fullmatch(commit):
            raise HubError(f"{what}: {commit!r} is no commit")
        self.check_place(url, what)
        self.run(["init", "--quiet", "--bare", "--template=", "--", str(folder)], what)
        depth = [] if history else ["--depth=1"]
        order = ["fetch", "--quiet", "--no-tags", "--no-write-fetch-head", "--force", *depth, "--", url]
        self.run([*order, f"{commit}:refs/heads/kept"], what, folder)

    def bundle(self, folder: Path, what: str) -> Generator[bytes]:
        """Yield the history in `folder` as the bytes of a file that `git clone` reads.

        Raises:
            Interrupted: `stopped` said so; else what git's complaint stands for, naming `what`.
        """
        with tempfile.TemporaryFile() as errors:
            process = self.start(["bundle", "create", "--quiet", "-", "refs/heads/kept"], folder, errors)
            try:
                while process.stdout and (piece := process.stdout.read(_PIECE_BYTES)):
                    if self.stopped():
                        raise Interrupted(f"interrupted while git read {what}", hint="run the same command again")
                    yield piece
                process.wait(STALL_SECONDS)
            finally:
                end(process)
                process.communicate()
            if process.returncode:
                errors.seek(0)
                raise _error(errors.read(1 << 16).decode(errors="replace"), what)

    def start(self, arguments: Sequence[str], folder: Path, errors: IO[bytes]) -> subprocess.Popen[bytes]:
        """Start a git that is talked to, such as `cat-file --batch`."""
        return self._start(arguments, folder, subprocess.PIPE, subprocess.PIPE, errors)

    def run(self, arguments: Sequence[str], what: str, folder: Path | None = None) -> bytes:
        """Run git to its end and return what it printed.

        Raises:
            Interrupted: `stopped` said so; else what its complaint stands for, naming `what`.
        """
        with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as errors:
            process = self._start(arguments, folder, subprocess.DEVNULL, out, errors)
            try:
                self._wait(process, (out, errors), what)
            finally:
                end(process)
                process.wait()
            if process.returncode:
                errors.seek(0)
                raise _error(errors.read(1 << 16).decode(errors="replace"), what)
            out.seek(0)
            return out.read(MAX_OUTPUT_BYTES)

    def _logins(self) -> dict[str, str]:
        made = {"GIT_CONFIG_COUNT": str(len(self.credentials))}
        for index, (address, value) in enumerate(self.credentials.items()):
            made[f"GIT_CONFIG_KEY_{index}"] = f"http.{address}.extraHeader"
            made[f"GIT_CONFIG_VALUE_{index}"] = f"Authorization: {value}"
        return made

    def _wait(self, process: subprocess.Popen[bytes], said: tuple[IO[bytes], ...], what: str) -> None:
        waited = 0.0
        while True:
            try:
                process.wait(_POLL_SECONDS)
            except subprocess.TimeoutExpired:
                waited += _POLL_SECONDS
            else:
                return
            if self.stopped():
                raise Interrupted(f"interrupted while git read {what}", hint="run the same command again to go on")
            if any(os.fstat(each.fileno()).st_size > MAX_OUTPUT_BYTES for each in said) or waited > MAX_SECONDS:
                raise HubError(f"{what} could not be read: git does not come to an end")

    def _start(
        self, arguments: Sequence[str], folder: Path | None, given: int, out: int | IO[bytes], errors: IO[bytes]
    ) -> subprocess.Popen[bytes]:
        # git would send a login on to where the first request is redirected.
        also = ("http.followRedirects=false",) if self.credentials else ()
        settings = [part for setting in (*_SETTINGS, *also) for part in ("-c", setting)]
        where = [] if folder is None else [f"--git-dir={folder}"]
        environment = {**git_environment(self.environment, self.protocols), **self._logins()}
        try:
            process = subprocess.Popen(
                ["git", *settings, *where, *arguments],
                env=environment,
                cwd="/" if folder is None else folder,
                stdin=given,
                stdout=out,
                stderr=errors,
                process_group=0,
            )
        except FileNotFoundError as error:
            raise ConfigError("the program `git` is not here", hint="install git, then run this again") from error
        for what, most in _LIMITS:
            _, allowed = resource.getrlimit(what)  # who is not root may only lower it
            limit = most if allowed == resource.RLIM_INFINITY else min(most, allowed)
            with suppress(ProcessLookupError):
                resource.prlimit(process.pid, what, (limit, limit))
        return process


def end(process: subprocess.Popen[bytes]) -> None:
    """Kill a git and all that it started, which is who speaks to the network."""
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)


def _error(said: str, what: str) -> PtmError:
    text = "".join(character if character.isprintable() else " " for character in said).strip()[:_SAID_BYTES]
    for sign, kind in _REASONS:
        if sign in said:
            return kind(f"{what} could not be read by git: {text}")
    return Unreachable(f"{what} could not be read by git: {text}")
