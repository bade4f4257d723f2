"""The hubs that a hostile one stands in front of: the simulators of the tests, and the arguments of a clone of each."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

from ptmtorrent.demo.bulk import bulk_packages
from tests.faults.hostile_lies import FILES, PACKS, PAGES
from tests.faults.hostile_packs import BOMBS, true_bytes, write_bomb
from tests.hubs.catalogues_samples import serve_catalogue
from tests.hubs.git.samples import fill
from tests.hubs.kaggle.samples import fill as fill_kaggle
from tests.hubs.onnx.samples import zoo
from tests.hubs.tfhub.samples import tensorflow
from tests.simulators.git_server import serve_git
from tests.simulators.huggingface import OddHub
from tests.simulators.kaggle import serve_kaggle

Through = Callable[[str], str]
AS_IT_IS = "as it is"
"""The fault of a bomb, whose hub is a proper one."""

FETCH = r"git-upload-pack fetch"


@dataclass(frozen=True)
class Place:
    """Answers of a hub: those to the requests that match `pattern`, with the `lies` that fit them.

    The bytes of a file are asked for again where they broke off. What is `unproven` may say anything: no hash, commit
    or listing contradicts it.
    """

    pattern: str
    lies: tuple[str, ...] = ()
    is_file: bool = False
    unproven: bool = False
    is_bomb: bool = False


@dataclass(frozen=True)
class World:
    """A hub to clone from. The token of the user is for the server `own` only.

    `ids` are packages that are bombs by themselves, by place; `expected` has the true SHA-256 of their files.
    """

    arguments: tuple[str, ...]
    own: str
    ids: Mapping[str, str] = field(default_factory=dict)
    expected: Mapping[str, Mapping[str, str]] = field(default_factory=dict)


PLACES: Mapping[str, Mapping[str, Place]] = {
    "huggingface": {
        "listing": Place(r"^api/models\?", PAGES, unproven=True),
        "tree": Place(r"/tree/", (*PAGES, *FILES)),
        "small files": Place(r"/resolve/.*README"),
        "redirects": Place(r"/resolve/.*safetensors"),
        "weights": Place(r"^lfs/", is_file=True),
        "commits": Place(r"/commits/", PAGES, unproven=True),
        "discussions": Place(r"/discussions", unproven=True),
    },
    "xet": {
        "token": Place(r"/xet-read-token/", ("addresses inside",)),
        "reconstruction": Place(
            r"^v1/reconstructions/", ("addresses inside", "long terms", "many terms", "wide terms", "shifted terms")
        ),
        "xorbs": Place(r"^xorbs/"),
    },
    "git": {
        "refs": Place(r"/info/refs"),
        "names": Place(r"git-upload-pack ls-refs", ("endless names",), unproven=True),
        "pack": Place(FETCH, PACKS),
        "batch": Place(r"/objects/batch", ("addresses inside", "addresses elsewhere", *FILES[:2])),
        "objects": Place(r"^[0-9a-f]{64}", is_file=True),
    },
    "bombs": {name: Place("none", (AS_IT_IS,), is_bomb=True) for name in BOMBS},
    "onnx": {
        "pack": Place(FETCH),
        "batch": Place(r"/objects/batch", ("addresses inside",)),
        "mirror": Place(r"^resolve/main/", is_file=True),
    },
    "kaggle": {
        "listing": Place(r"^api/v1/models/list", ("tokens without end",), unproven=True),
        "files": Place(r"/files\?", ("tokens without end", *FILES)),
        "redirects": Place(r"/download/"),
        "files' bytes": Place(r"^store/", is_file=True),
    },
    "tfhub": {
        "documents": Place(FETCH),
        "handles": Place(r"^team/small/\d+$", unproven=True),
        "files": Place(r"/files\?", FILES),
        "files' bytes": Place(r"^store/", is_file=True),
    },
    "modelzoo": {
        "listing": Place(r"^api/models/", unproven=True),
        "pack": Place(FETCH, PACKS[:1]),
    },
    "pytorch": {
        "cards": Place(rf"pytorch/hub.*{FETCH}"),
        "pack": Place(rf"team/vision.*{FETCH}"),
        "weights": Place(r"^files/", is_file=True),
    },
    "modelhub": {
        "registry": Place(rf"team/registry.*{FETCH}"),
        "weights": Place(r"/releases/download/", is_file=True, unproven=True),
    },
}


@contextmanager
def _huggingface(folder: Path, through: Through, *, xet: bool = False) -> Iterator[World]:
    del folder
    packages = bulk_packages(3, 300_000)
    with OddHub(packages, page=2, xet=xet) as hub:
        through(hub._lfs.base)  # the simulator has no other name for it
        through(hub._cas.base)
        for package in packages:
            hub.commits[package.name] = [{"id": f"{number:040x}", "title": "Add"} for number in range(3)]
            hub.discussions[package.name] = [{"num": 1, "title": "Why?", "events": []}]
        base = through(hub.endpoint)
        also = ("--xet",) if xet else ("--with", "history,discussions")
        yield World(("huggingface", "--endpoint", base, *also), urlsplit(hub.endpoint).netloc)


@contextmanager
def _git(folder: Path, through: Through) -> Iterator[World]:
    with serve_git(folder) as server:
        server.url, server.store = through(server.url), through(server.store)
        ids = ",".join(fill(server, 2))
        yield World(("git", "--endpoint", server.url, "--id", ids), "")


@contextmanager
def _bombs(folder: Path, through: Through) -> Iterator[World]:
    with serve_git(folder) as server:
        server.url = through(server.url)
        ids = {name: f"bombs/{name.replace(' ', '-')}" for name in BOMBS}
        for name, identifier in ids.items():
            write_bomb(name, folder / f"{identifier}.git")
        expected = {f"git:127.0.0.1/{identifier}": true_bytes(name) for name, identifier in ids.items()}
        yield World(("git", "--endpoint", server.url), "", ids, expected)


@contextmanager
def _onnx(folder: Path, through: Through) -> Iterator[World]:
    with zoo(folder, through) as made:
        # What LFS storage has lost comes from the mirror.
        made.lose(next(iter(made.pointers)))
        yield World(("onnx", "--endpoint", made.endpoint, "--mirror", f"{made.mirror.url}/resolve/main"), "")


@contextmanager
def _kaggle(folder: Path, through: Through) -> Iterator[World]:
    del folder
    with serve_kaggle() as state:
        fill_kaggle(state)
        yield World(("kaggle", "--endpoint", through(state.url)), "")


@contextmanager
def _tfhub(folder: Path, through: Through) -> Iterator[World]:
    with tensorflow(folder, through) as made:
        through(made.kaggle.url)
        yield World(("tfhub", "--endpoint", made.endpoint, "--mirror", made.redirector.url), "")


@contextmanager
def _catalogue(kind: str, folder: Path, through: Through) -> Iterator[World]:
    with serve_catalogue(kind, folder, through) as made:
        yield World((kind, "--endpoint", made.endpoint), "")


WORLDS: Mapping[str, Callable[[Path, Through], AbstractContextManager[World]]] = {
    "huggingface": _huggingface,
    "xet": partial(_huggingface, xet=True),
    "git": _git,
    "bombs": _bombs,
    "onnx": _onnx,
    "kaggle": _kaggle,
    "tfhub": _tfhub,
    **{kind: partial(_catalogue, kind) for kind in ("modelzoo", "pytorch", "modelhub")},
}
