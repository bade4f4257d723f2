"""Settings and their origins: flag, environment, project file, user file, default, in this order of precedence.

The user file is `config.toml` in the platform's folder for such files, and looks like this::

    home = "/data/ptmtorrent"
    channel = "https://example.org/channel/"
    transport = "auto"
    format = "auto"
    jobs = 4
    max_memory = "512MiB"
    globus_client_id = "00000000-0000-4000-8000-000000000000"
    globus_here = "11111111-1111-4111-8111-111111111111:/data"
    globus_patience = 1800

A project file is `ptmtorrent.toml` in the folder the program is started in. Any package may bring one, so it sets only
what cannot decide whom to trust, which hosts to ask, where files go or how much memory is used (`PROJECT_SETTINGS`).

This is the only module that reads the environment. It imports nothing heavy, because every verb imports it.
"""

import os
import re
import stat
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

from ptmtorrent.errors import ConfigError, PtmError, UsageError
from ptmtorrent.scrub import keep_secret, split_login

if TYPE_CHECKING:
    from ptmtorrent.model.locations import Location

FORMATS = ("auto", "human", "json", "quiet")
TransportName = Literal["auto", "torrent", "http", "globus", "globus+http", "local"]
TRANSPORTS: tuple[str, ...] = get_args(TransportName)
MAX_JOBS = 64
MAX_PATIENCE_SECONDS = 30 * 24 * 3600
_UUID = "[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}"
MIN_MEMORY = "256MiB"
"""The least memory that a store needs to work."""

_ADDRESS_SPACE = "Max address space"
MANY_OPEN_FILES = 4096
"""As many files as a run ever has open."""

SECRETS = (
    ("hf_token", "HF_TOKEN"),
    ("git_token", "PTMTORRENT_GIT_TOKEN"),
    ("kaggle_token", "KAGGLE_API_TOKEN"),
    ("key_passphrase", "PTMTORRENT_KEY_PASSPHRASE"),
    ("globus_client_secret", "PTMTORRENT_GLOBUS_CLIENT_SECRET"),
)

_HUB_TOKENS = {"hf": "hf_token", "git": "git_token", "kaggle": "kaggle_token"}

PROJECT_FILE = "ptmtorrent.toml"
PROJECT_SETTINGS = ("format", "transport", "jobs", "globus_patience")
"""The settings that a project file may set; all others choose a folder, a host, an identity or an amount of memory."""

MAX_FILE_BYTES = 64 << 10
"""The largest settings file that is read."""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Every setting of a run; `origins` has the origin of each, by name. `max_memory` is in bytes.

    `globus_here` is the collection that shows this machine's files, and the folder that is its `/`; `globus_patience`
    the seconds that a task may make no progress. Secrets (`SECRETS`) come from the environment only.
    """

    home: Path
    format: str
    channel: "Location | None"
    transport: TransportName
    jobs: int
    max_memory: int
    globus_client_id: str | None
    globus_here: str | None
    globus_patience: int
    hf_token: str | None = field(repr=False)
    git_token: str | None = field(repr=False)
    kaggle_token: str | None = field(repr=False)
    key_passphrase: str | None = field(repr=False)
    globus_client_secret: str | None = field(repr=False)
    origins: Mapping[str, str]

    def with_flags(self, **flags: str | int | None) -> "Settings":
        """Return these settings with the flags that are not None taking precedence.

        Raises:
            UsageError: an invalid value.
        """
        given = {name: value for name, value in flags.items() if value is not None}
        values: dict[str, Any] = {
            name: _check(name, value, _flag(name), _current_folder()) for name, value in given.items()
        }
        return replace(self, origins={**self.origins, **{name: _flag(name) for name in given}}, **values)


def _current_folder() -> Path:
    try:
        return Path.cwd()
    except OSError as error:
        raise ConfigError(
            f"the current folder cannot be found: {error.strerror}", hint="it may be gone; change to another one: cd"
        ) from error


@dataclass(frozen=True)
class _Layer:
    """The settings of one origin: its name in errors, the base of relative paths, and the raw values."""

    origin: Callable[[str], str]
    folder: Path
    values: Mapping[str, object]


def load_settings(
    flags: Mapping[str, str | int | None],
    *,
    environment: Mapping[str, str] | None = None,
    folder: Path | None = None,
    user_file: Path | None = None,
) -> Settings:
    """Return the effective settings. Environment, folder and user file default to those of the process.

    Raises:
        ConfigError: a malformed file, an unknown key, an invalid value, or a key that a project file may not set; names
            file and key.
        UsageError: a flag with an invalid value.
    """
    environment = os.environ if environment is None else environment
    folder = folder or _current_folder()
    user_file = user_file or default_user_file()
    layers = (
        _Layer("default".format, folder, _defaults()),
        *([_file_layer(user_file, "user file")] if user_file is not None else []),
        _project_layer(folder / PROJECT_FILE, user_file),
        _Layer(lambda name: f"environment {_variable(name)}", folder, _of_environment(environment)),
        _Layer(_flag, folder, {name: value for name, value in flags.items() if value is not None}),
    )
    values: dict[str, Any] = {}
    origins: dict[str, str] = {}
    for layer in layers:
        for name, value in layer.values.items():
            values[name] = _check(name, value, layer.origin(name), layer.folder)
            origins[name] = layer.origin(name)
    if values["home"] is None:
        raise ConfigError(
            "there is no folder for the home: `HOME` is not set, and the user has no entry in the list of users",
            hint="name one: `--home DIR`, or set `PTMTORRENT_HOME`",
        )
    _keep_secrets(environment)
    for name, variable in SECRETS:
        values[name] = environment.get(variable) or None
        origins[name] = f"environment {variable}" if values[name] else "default"
    return Settings(origins=origins, **values)


def requested_format(arguments: Sequence[str], environment: Mapping[str, str] | None = None) -> str:
    """Return the output format that unparsed arguments ask for, so that usage errors are printed in it."""
    environment = os.environ if environment is None else environment
    asked = environment.get("PTMTORRENT_FORMAT", "auto")
    for argument, following in zip(arguments, [*arguments, ""][1:], strict=True):
        name, _, value = argument.partition("=")
        if name == "--format":
            asked = value or following
    return asked if asked in FORMATS else "auto"


def requested_kernel(environment: Mapping[str, str] | None = None) -> str:
    """Return the kernel the codecs should use, for tests and benchmarks: `numpy`, or anything else for the fastest."""
    environment = os.environ if environment is None else environment
    return environment.get("PTMTORRENT_KERNEL", "auto")


def hub_tokens(environment: Mapping[str, str] | None = None) -> Mapping[str, str]:
    """Return the tokens that are set, by prefix of the hub they are for."""
    environment = os.environ if environment is None else environment
    variables = dict(SECRETS)
    _keep_secrets(environment)
    return {prefix: token for prefix, name in _HUB_TOKENS.items() if (token := environment.get(variables[name]))}


def network_environment(environment: Mapping[str, str] | None = None) -> Mapping[str, str]:
    """Return the environment of other programs: the search path, proxies and certificates.

    Proxies are named in lower case, as every program reads them.
    """
    environment = os.environ if environment is None else environment
    kept = {name: environment[name] for name in _NETWORK_VARIABLES if name in environment}
    return {**kept, **proxy_environment(environment)}


def certificate_environment() -> tuple[str, str]:
    """Return the file and the folder of trusted certificates that the user names, as TLS libraries read them."""
    return os.environ.get("SSL_CERT_FILE", ""), os.environ.get("SSL_CERT_DIR", "")


def proxy_environment(environment: Mapping[str, str] | None = None) -> Mapping[str, str]:
    """Return the proxies in force, by the variable that names them in lower case.

    A name in lower case goes before one in upper case, and an empty one names no proxy. `HTTP_PROXY` is ignored where
    a server may have set it from a header of a request (CGI), as every HTTP library does.
    """
    environment = os.environ if environment is None else environment
    found: dict[str, str] = {}
    for name in PROXY_VARIABLES:
        upper = "" if name == "http_proxy" and "REQUEST_METHOD" in environment else environment.get(name.upper(), "")
        if value := environment.get(name, upper).strip():
            found[name] = value
    return found


def ssh_environment(environment: Mapping[str, str] | None = None) -> Mapping[str, str]:
    """Return the environment of ssh, which is the user's own program: how git calls it, and where its keys are."""
    environment = os.environ if environment is None else environment
    return {name: environment[name] for name in _SSH_VARIABLES if name in environment}


def _keep_secrets(environment: Mapping[str, str]) -> None:
    """Register the secrets of the environment, so that they are removed from all that is printed or kept."""
    for _, variable in SECRETS:
        keep_secret(environment.get(variable), user="token")
    for variable in PROXY_VARIABLES:
        for name in (variable, variable.upper()):
            split_login(environment.get(name, ""))


def memory_left() -> int:
    """Return the bytes of memory that the machine and the control group of this process have left.

    What the system does not say is taken for no limit.
    """
    found = [_field("/proc/meminfo", "MemAvailable:")]
    group = next((line.split(":", 2)[2] for line in _lines("/proc/self/cgroup") if line.startswith("0::")), "/")
    folder = Path("/sys/fs/cgroup", group.strip().lstrip("/"))
    for place in (folder, *folder.parents):
        limit, used = (next(iter(_lines(place / name)), "") for name in ("memory.max", "memory.current"))
        if limit.strip().isdigit() and used.strip().isdigit():
            found.append(int(limit) - int(used))
    return max(0, min((each for each in found if each is not None), default=sys.maxsize))


def addresses_left() -> int:
    """Return the bytes of addresses that the limit of this process (`ulimit -v`) leaves; much more than memory."""
    line = next((line for line in _lines("/proc/self/limits") if line.startswith(_ADDRESS_SPACE)), _ADDRESS_SPACE)
    limit = next(iter(line.removeprefix(_ADDRESS_SPACE).split()), "")
    used = _field("/proc/self/status", "VmSize:") or 0
    return max(0, int(limit) - used) if limit.isdigit() else sys.maxsize


def allow_open_files() -> int:
    """Raise the number of files that this process may open as far as it may be raised; return it."""
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MANY_OPEN_FILES if hard == resource.RLIM_INFINITY else min(hard, MANY_OPEN_FILES)
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return MANY_OPEN_FILES if soft == resource.RLIM_INFINITY else soft
    with suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
        return wanted
    return soft


def _field(file: str, name: str) -> int | None:
    """Return a number of kibibytes from a file of /proc, in bytes."""
    line = next((line for line in _lines(file) if line.startswith(name)), "")
    return int(line.split()[1]) << 10 if line else None


def _lines(file: str | Path) -> list[str]:
    try:
        return Path(file).read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return []


def _check(name: str, value: object, origin: str, folder: Path) -> object:
    check = _CHECKS.get(name)
    if check is None:
        raise ConfigError(f"{origin}: unknown setting `{name}`", hint=f"the settings are {_listed(_CHECKS)}")
    try:
        checked = check(value, folder)
    except UsageError as error:
        raise _refused(name, origin, error) from error
    if checked is None and value is not None:
        if origin == _flag(name):
            raise UsageError(f"`{_option(name)}` cannot be `{value}`", hint=f"expected {_EXPECTED[name]}")
        raise ConfigError(f"{origin}: `{name}` cannot be `{value}`", hint=f"expected {_EXPECTED[name]}")
    return checked


def _refused(name: str, origin: str, error: UsageError) -> PtmError:
    if origin == _flag(name):
        return UsageError(f"`{_option(name)}`: {error.message}", hint=error.hint)
    return ConfigError(f"{origin}: `{name}`: {error.message}", hint=error.hint)


def _check_home(value: object, folder: Path) -> Path | None:
    from ptmtorrent.model.locations import parse_folder

    return parse_folder(value, "--home", folder) if isinstance(value, str) and value else None


def _check_channel(value: object, folder: Path) -> "Location | None":
    from ptmtorrent.model.locations import parse_location

    return parse_location(value, folder) if isinstance(value, str) and value else None


def _check_jobs(value: object, folder: Path) -> int | None:  # noqa: ARG001  # all checks have one signature
    if isinstance(value, str) and value.isascii() and value.isdigit():
        value = int(value)
    return value if type(value) is int and 1 <= value <= MAX_JOBS else None


def _check_memory(value: object, folder: Path) -> int | None:  # noqa: ARG001  # all checks have one signature
    from ptmtorrent.model.text import parse_size

    with suppress(UsageError):
        size = parse_size(str(value)) if type(value) in {int, str} else 0
        return size if size >= parse_size(MIN_MEMORY) else None
    return None


def _check_seconds(value: object, folder: Path) -> int | None:  # noqa: ARG001  # all checks have one signature
    if isinstance(value, str) and value.isascii() and value.isdigit():
        value = int(value)
    return value if type(value) is int and 1 <= value <= MAX_PATIENCE_SECONDS else None


def _matching(pattern: str) -> Callable[[object, Path], str | None]:
    return lambda value, _: value if isinstance(value, str) and re.fullmatch(pattern, value) else None


def _one_of(choices: tuple[str, ...]) -> Callable[[object, Path], str | None]:
    return lambda value, _: value if isinstance(value, str) and value in choices else None


def _listed(names: Mapping[str, object] | Sequence[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)


_SSH_VARIABLES = ("GIT_SSH_COMMAND", "GIT_SSH", "GIT_SSH_VARIANT", "SSH_AUTH_SOCK", "HOME", "USER", "LOGNAME")
_NETWORK_VARIABLES = ("PATH", "SSL_CERT_FILE", "SSL_CERT_DIR")
PROXY_VARIABLES = ("http_proxy", "https_proxy", "all_proxy", "no_proxy")
_CHECKS: dict[str, Callable[[object, Path], object]] = {
    "home": _check_home,
    "format": _one_of(FORMATS),
    "channel": _check_channel,
    "transport": _one_of(TRANSPORTS),
    "jobs": _check_jobs,
    "max_memory": _check_memory,
    "globus_client_id": _matching(_UUID),
    "globus_here": _matching(f"{_UUID}:/.*"),
    "globus_patience": _check_seconds,
}
_EXPECTED = {
    "home": 'a folder, such as "/data/ptmtorrent"',
    "format": f"one of {_listed(FORMATS)}",
    "channel": 'a URL or a folder, such as "https://example.org/channel/"',
    "transport": f"one of {_listed(TRANSPORTS)}",
    "jobs": f"a whole number from 1 to {MAX_JOBS}",
    "globus_client_id": "the UUID of a client registered with Globus",
    "globus_here": 'a collection and the folder that is its `/`, such as "11111111-1111-4111-8111-111111111111:/data"',
    "globus_patience": "a whole number of seconds, 1 or more",
    "max_memory": f"a size of {MIN_MEMORY} or more, such as 512MiB",
}


def _flag(name: str) -> str:
    return f"flag {_option(name)}"


def _option(name: str) -> str:
    return f"--{name.replace('_', '-')}"


def _variable(name: str) -> str:
    return f"PTMTORRENT_{name.upper()}"


def _of_environment(environment: Mapping[str, str]) -> dict[str, object]:
    return {name: environment[_variable(name)] for name in _CHECKS if environment.get(_variable(name))}


def _file_layer(file: Path, kind: str) -> _Layer:
    return _Layer(lambda _: f"{kind} `{file}`", file.parent, _read_toml(file))


def _project_layer(file: Path, user_file: Path | None) -> _Layer:
    """Return the settings of a project file; refuse the settings that untrusted files must not decide."""
    layer = _file_layer(file, "project file")
    secrets = dict(SECRETS)
    for name in layer.values:
        if name in PROJECT_SETTINGS or name not in {*_CHECKS, *secrets}:
            continue
        instead = (
            f"`{secrets[name]}`"
            if name in secrets
            else f"`{_variable(name)}`, or `{name}` in `{user_file or 'the user file'}`,"
        )
        raise ConfigError(
            f"{layer.origin(name)}: `{name}` is refused, because any package may bring such a file",
            hint=f"remove it from `{file}`, which may set {_listed(PROJECT_SETTINGS)}; set {instead} instead",
        )
    return layer


def _read_toml(file: Path) -> dict[str, object]:
    import tomllib

    try:
        return tomllib.loads(_read_small(file).decode())
    except FileNotFoundError:
        return {}
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ConfigError(f"`{file}` is not valid TOML: {error}", hint=f"correct or remove `{file}`") from error
    except OSError as error:
        raise ConfigError(f"`{file}` cannot be read: {error.strerror}", hint=f"correct or remove `{file}`") from error


def _read_small(file: Path) -> bytes:
    """Return the bytes of a settings file; refuse what is not a file (a FIFO would be waited for) or is too large."""
    descriptor = os.open(file, os.O_RDONLY | os.O_NONBLOCK)
    with open(descriptor, "rb") as stream:  # noqa: PTH123  # what was opened without waiting
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise ConfigError(f"`{file}` is not a file", hint=f"move `{file}` away")
        data = stream.read(MAX_FILE_BYTES + 1)
    if len(data) > MAX_FILE_BYTES:
        raise ConfigError(f"`{file}` is larger than {MAX_FILE_BYTES} bytes", hint=f"correct or remove `{file}`")
    return data


def _defaults() -> dict[str, object]:
    return {
        "home": _default_home(),
        "format": "auto",
        "channel": None,
        "transport": "auto",
        "jobs": 4,
        "max_memory": "512MiB",
        "globus_client_id": None,
        "globus_here": None,
        "globus_patience": 1800,
    }


def _default_home() -> str | None:
    """Return the folder that this user's files of programs are in; None for a user without a home folder."""
    from platformdirs import user_data_path

    with suppress(RuntimeError):
        return str(user_data_path("ptmtorrent"))
    return None


def default_user_file() -> Path | None:
    """Return where the settings of this user are; None for a user without a home folder."""
    from platformdirs import user_config_path

    with suppress(RuntimeError):
        return user_config_path("ptmtorrent") / "config.toml"
    return None
