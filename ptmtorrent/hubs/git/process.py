"""Runs the `git` program isolated from the user's settings and from hostile remotes.

A remote gets no hooks, settings, submodules or credentials, and git contacts only the requested address. Fetched
objects are kept in a bare clone and read by id; git never checks anything out. Objects are not checked by `fsck`,
because old histories break its rules; instead, the hash of every object is checked when it is read.
"""

import os
import re
import resource
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

import msgspec

from ptmtorrent import http
from ptmtorrent.config import proxy_environment
from ptmtorrent.errors import AuthError, ConfigError, HubError, Interrupted, NotFound, PtmError
from ptmtorrent.hubs.client.status_errors import Unreachable
from ptmtorrent.hubs.git.activity import Activity
from ptmtorrent.hubs.git.addresses import WEB, protocol_of
from ptmtorrent.network import Pace, proxy_for
from ptmtorrent.stop import RESUME_HINT

MAX_OUTPUT_BYTES = 64 << 20
"""Limit of a command's output (64 MiB); a command that exceeds it is killed."""

MAX_SECONDS = 6 * 3600.0
STALL_SECONDS = 60
PACE = msgspec.structs.replace(http.PACE, window=120.0)
"""What a remote must keep, whatever its protocol; a server may need a minute to prepare a large answer."""

_KEPT = ("PATH", "SSL_CERT_FILE", "SSL_CERT_DIR")
_KEPT_FOR_SSH = ("GIT_SSH_COMMAND", "GIT_SSH", "GIT_SSH_VARIANT", "SSH_AUTH_SOCK", "HOME", "USER", "LOGNAME")
_SSH = "ssh -o BatchMode=yes -o ConnectTimeout=30 -o ServerAliveInterval=20"
_SETTINGS = (
    *("core.hooksPath=/dev/null", "credential.helper=", "core.askPass=true", "gc.auto=0", "maintenance.auto=false"),
    *(
        "core.fsmonitor=false",
        "submodule.recurse=false",
        "fetch.recurseSubmodules=false",
        "fetch.writeCommitGraph=false",
    ),
    *("fetch.unpackLimit=1", "protocol.version=2", "http.followRedirects=false", "http.lowSpeedLimit=1024"),
    f"http.lowSpeedTime={STALL_SECONDS}",
    "transfer.bundleURI=false",
    *("core.bigFileThreshold=8m", "core.deltaBaseCacheLimit=8m", "pack.threads=2", "pack.windowMemory=16m"),
    *("core.packedGitWindowSize=8m", "core.packedGitLimit=32m"),
)
MEMORY_BYTES = 80 << 20
"""Limit of the memory of git and of each of its children (80 MiB).

A few kilobytes of pack can ask for gigabytes. Files over 8 MiB pass through without being held in memory, unless they
are stored as a delta.
"""

HISTORY_MEMORY_BYTES = 1 << 30
"""The same where a whole history is fetched, of millions of objects."""

MAX_FILE_BYTES = 1 << 38
"""Limit of a file that git writes (256 GiB)."""


class Redirected(HubError):
    """The remote redirects elsewhere."""


Pipes = tuple[int, int | IO[bytes], IO[bytes]]
"""Input, output and errors of a process."""

_COMMIT = re.compile(r"[0-9a-f]{40}")
_POLL_SECONDS = 0.1
_SHOWN_CHARACTERS = 400
_PIECE_BYTES = 1 << 20

_REASONS: tuple[tuple[str, type[PtmError]], ...] = (
    ("not our ref", NotFound),
    ("couldn't find remote ref", NotFound),
    ("does not appear to be a git", NotFound),
    ("not found", NotFound),
    ("does not exist", NotFound),
    ("not a git repository", NotFound),
    ("Authentication failed", AuthError),
    ("Permission denied", AuthError),
    ("Host key verification failed", AuthError),
    ("dubious ownership", AuthError),
    ("could not read Username", AuthError),
    ("error: 403", AuthError),
    ("returned error: 30", Redirected),
    ("not allowed", HubError),
    ("not supported", HubError),
    ("ut of memory", HubError),
    ("Cannot allocate memory", HubError),
)


def git_environment(environment: Mapping[str, str], protocols: str, url: str = "") -> dict[str, str]:
    """Return the environment of git: certificates from `environment`, nothing of the user's settings.

    For a request to `url` it has the proxy that every other request to it goes through: libcurl reads the variables of
    `environment` in its own way.
    Ssh is the user's own program, with the user's keys; without `GIT_SSH_COMMAND` it never waits for an answer.
    """
    by_ssh = protocols == "ssh"
    asks = not {"GIT_SSH_COMMAND", "GIT_SSH"} & environment.keys()
    return {
        **{name: environment[name] for name in (*_KEPT, *(_KEPT_FOR_SSH if by_ssh else ())) if name in environment},
        **({"GIT_SSH_COMMAND": _SSH} if by_ssh and asks else {}),
        **_proxy_variables(url, environment),
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


def _proxy_variables(url: str, environment: Mapping[str, str]) -> dict[str, str]:
    proxy = proxy_for(url, proxy_environment(environment))
    return {"no_proxy": "*"} if proxy is None else {"http_proxy": proxy, "https_proxy": proxy, "no_proxy": ""}


@dataclass
class Git:
    """Runs git; a running git is killed once `stopped` returns True, and when it does not keep the `pace`.

    Each of its processes has at most `memory_bytes`.
    Remotes are reached by one of `protocols` only (`https:http`), and git is allowed no other than that of the address
    (either of http and https). `check_address` may refuse an address before git contacts it. git follows no redirect;
    `follow` returns the address that one leads to. With a login none is followed, so that it is sent nowhere else.

    `credentials` and `logins` are Authorization headers by URL prefix (`https://host/`). They are passed to git in its
    environment, because other users can read the arguments of a process.
    """

    environment: Mapping[str, str]
    protocols: str = "https:http"
    credentials: Mapping[str, str] = field(default_factory=dict)
    logins: Mapping[str, str] = field(default_factory=dict)
    stopped: Callable[[], bool] = lambda: False
    check_address: Callable[[str, str], None] = lambda _url, _what: None
    follow: Callable[[str, str], str] | None = None
    pace: Pace = PACE
    memory_bytes: int = MEMORY_BYTES
    _moved: dict[str, str] = field(default_factory=dict)

    def head(self, url: str, what: str) -> str:
        """Return the commit that HEAD of the remote at `url` names.

        Raises:
            NotFound: the remote does not exist or is empty; AuthError, HubError, Unreachable: by git's message.
        """
        found = self.names(url, ("HEAD",), what).get("HEAD")
        if found is None:
            raise NotFound(f"{what} has no commit")
        return found

    def names(self, url: str, wanted: Sequence[str], what: str) -> dict[str, str]:
        """Return the object id of each of the `wanted` refs that the remote at `url` has.

        Raises:
            As `head`.
        """
        output = self._ask(url, what, lambda at: ["ls-remote", "--quiet", "--", at, *wanted]).decode(errors="replace")
        lines = (line.partition("\t") for line in output.splitlines())
        return {name: oid for oid, _, name in lines if name in wanted and _COMMIT.fullmatch(oid)}

    def fetch(self, url: str, commit: str, folder: Path, what: str, *, history: bool = False) -> None:
        """Fetch `commit` with all its files into the bare clone `folder`; with `history` every earlier commit too.

        The commit is requested by id, so it does not matter whether the branch moved since the listing.

        Raises:
            NotFound: the remote no longer has that commit; otherwise as `head`.
        """
        if not _COMMIT.fullmatch(commit):
            raise HubError(f"{what}: {commit!r} is not a commit id")
        self.run(["init", "--quiet", "--bare", "--template=", "--", str(folder)], what)
        depth = [] if history else ["--depth=1"]
        order = ["fetch", "--quiet", "--no-tags", "--no-write-fetch-head", "--force", *depth, "--"]
        self._ask(url, what, lambda at: [*order, at, f"{commit}:refs/heads/kept"], folder)

    def bundle(self, folder: Path, what: str) -> Generator[bytes]:
        """Yield the history in `folder` as the bytes of a git bundle, which `git clone` reads.

        Raises:
            Interrupted: `stopped` returned True; otherwise the error for git's message, naming `what`.
        """
        with tempfile.TemporaryFile() as errors:
            process = self.start(["bundle", "create", "--quiet", "-", "refs/heads/kept"], folder, errors)
            try:
                while process.stdout and (piece := process.stdout.read(_PIECE_BYTES)):
                    if self.stopped():
                        raise Interrupted(f"reading {what} with git was interrupted", hint=RESUME_HINT)
                    yield piece
                process.wait(STALL_SECONDS)
            finally:
                end(process)
                process.communicate()
            if process.returncode:
                errors.seek(0)
                raise _error(errors.read(1 << 16).decode(errors="replace"), what)

    def start(self, arguments: Sequence[str], folder: Path, errors: IO[bytes]) -> subprocess.Popen[bytes]:
        """Start git with pipes for input and output, such as `cat-file --batch`."""
        return self._start(arguments, folder, (subprocess.PIPE, subprocess.PIPE, errors))

    def run(  # what is run, and where it may connect to
        self, arguments: Sequence[str], what: str, folder: Path | None = None, *, protocols: str = "", url: str = ""
    ) -> bytes:
        """Run git, allowed the `protocols` of the remote at `url`, and return its output.

        Raises:
            Interrupted: `stopped` returned True; otherwise the error for git's message, naming `what`.
        """
        with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as errors:
            process = self._start(arguments, folder, (subprocess.DEVNULL, out, errors), protocols, url)
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

    def _ask(self, url: str, what: str, order: Callable[[str], Sequence[str]], folder: Path | None = None) -> bytes:
        """Run git on the remote at `url`, or at the address that this redirects to."""
        at = self._moved.get(url, url)
        self.check_address(at, what)
        try:
            return self.run(order(at), what, folder, protocols=self._allowed(at), url=at)
        except Redirected:
            if self.follow is None or self.credentials or self.logins or protocol_of(at) not in WEB:
                raise
        self._moved[url] = at = self.follow(at, what)
        self.check_address(at, what)
        return self.run(order(at), what, folder, protocols=self._allowed(at), url=at)

    def _allowed(self, url: str) -> str:
        own, allowed = protocol_of(url), self.protocols.split(":")
        return ":".join(each for each in allowed if each == own or {each, own} == {*WEB})

    def _logins(self) -> dict[str, str]:
        logins = {**self.credentials, **self.logins}
        made = {"GIT_CONFIG_COUNT": str(len(logins))}
        for index, (address, value) in enumerate(logins.items()):
            made[f"GIT_CONFIG_KEY_{index}"] = f"http.{address}.extraHeader"
            made[f"GIT_CONFIG_VALUE_{index}"] = f"Authorization: {value}"
        return made

    def _wait(self, process: subprocess.Popen[bytes], outputs: tuple[IO[bytes], ...], what: str) -> None:
        until, activity = time.monotonic() + MAX_SECONDS, Activity(process.pid, self.pace)
        while True:
            with suppress(subprocess.TimeoutExpired):
                process.wait(_POLL_SECONDS)
                return
            if self.stopped():
                raise Interrupted(f"reading {what} with git was interrupted", hint=RESUME_HINT)
            if activity.is_stalled():
                raise Unreachable(
                    f"{what} could not be read by git: fewer than {self.pace.least_rate} bytes a second came for"
                    f" {self.pace.window:g} seconds"
                )
            too_long = time.monotonic() > until
            if any(os.fstat(each.fileno()).st_size > MAX_OUTPUT_BYTES for each in outputs) or too_long:
                raise HubError(f"{what} could not be read: git ran too long or printed too much")

    def _start(
        self, arguments: Sequence[str], folder: Path | None, pipes: Pipes, protocols: str = "", url: str = ""
    ) -> subprocess.Popen[bytes]:
        settings = [part for setting in _SETTINGS for part in ("-c", setting)]
        where = [] if folder is None else [f"--git-dir={folder}"]
        environment = {**git_environment(self.environment, protocols, url), **self._logins()}
        try:
            process = subprocess.Popen(
                ["git", *settings, *where, *arguments],
                env=environment,
                cwd="/" if folder is None else folder,
                stdin=pipes[0],
                stdout=pipes[1],
                stderr=pipes[2],
                process_group=0,
            )
        except FileNotFoundError as error:
            raise ConfigError("the program `git` is not installed", hint="install git, then run this again") from error
        limits = ((resource.RLIMIT_DATA, self.memory_bytes), (resource.RLIMIT_FSIZE, MAX_FILE_BYTES))
        for what, maximum in limits:
            _, allowed = resource.getrlimit(what)  # without root it can only be lowered
            limit = maximum if allowed == resource.RLIM_INFINITY else min(maximum, allowed)
            with suppress(ProcessLookupError):
                resource.prlimit(process.pid, what, (limit, limit))
        return process


def end(process: subprocess.Popen[bytes]) -> None:
    """Kill a git process and its children, which do the network requests."""
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)


def _error(message: str, what: str) -> PtmError:
    text = "".join(character if character.isprintable() else " " for character in message).strip()[:_SHOWN_CHARACTERS]
    for sign, kind in _REASONS:
        if sign in message:
            return kind(f"{what} could not be read by git: {text}")
    return Unreachable(f"{what} could not be read by git: {text}")
