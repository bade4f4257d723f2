"""Catalogues that link to git remotes, served by the simulators."""

import hashlib
import json
import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from ptmtorrent.hubs.catalogues import CatalogueHub
from ptmtorrent.hubs.client.session import Session
from ptmtorrent.hubs.git.clones import Clones
from ptmtorrent.hubs.git.process import Git
from ptmtorrent.hubs.modelhub.adapter import Modelhub
from ptmtorrent.hubs.modelzoo import ModelZoo
from ptmtorrent.hubs.pytorch.adapter import PyTorchHub
from tests.simulators.assets import Assets, serve_assets
from tests.simulators.git_server import GitServer, serve_git

WEIGHTS = random.Random(23).randbytes(120_000)
PREFIX = hashlib.sha256(WEIGHTS).hexdigest()[:8]
KINDS: dict[str, type[CatalogueHub]] = {"pytorch": PyTorchHub, "modelzoo": ModelZoo, "modelhub": Modelhub}


@dataclass
class World:
    """A catalogue of one kind: its simulators, and the expected packages with paths and bytes."""

    kind: str
    git: GitServer
    assets: Assets
    work: Path
    endpoint: str = ""
    weights: str = ""
    expected: dict[str, dict[str, bytes]] = field(default_factory=dict)

    def hub(self, session: Session | None = None) -> CatalogueHub:
        clones = Clones(Git({"PATH": "/usr/bin:/bin"}), self.work)
        return KINDS[self.kind](self.endpoint, clones, session)


@contextmanager
def serve_catalogue(kind: str, folder: Path, through: Callable[[str], str] = str) -> Iterator[World]:
    """Serve a catalogue; its files name the addresses that `through` makes of those of the simulators."""
    served = folder / "served"
    served.mkdir()
    with serve_git(served) as git, serve_assets() as assets:
        git.url, git.store, assets.url = map(through, (git.url, git.store, assets.url))
        world = World(kind, git, assets, folder / "work")
        {"pytorch": _pytorch, "modelzoo": _modelzoo, "modelhub": _modelhub}[kind](world)
        yield world


def card(owned: str, ref: str = "") -> bytes:
    load = f"torch.hub.load('{owned}{ref and ':' + ref}', 'small', pretrained=True)"
    return (
        f"---\ntitle: Small\nauthor: Team\ntags: [vision]\ngithub-id: {owned}\n---\n```python\n{load}\n```\n".encode()
    )


def _pytorch(world: World) -> None:
    world.weights = f"/files/small-{PREFIX}.pth"
    world.assets.data[world.weights] = WEIGHTS
    other = f"{world.assets.url}/files/large-{PREFIX}.pth"
    table = f"urls = {{'small': '{world.assets.url}{world.weights}', 'large': '{other}'}}\n"
    files = {
        "hubconf.py": b"dependencies = ['torch']\nfrom vision.models import small, large\n",
        "vision/models/__init__.py": b"from .zoo import *\n",
        "vision/models/zoo.py": f"{table}def small(): return urls['small']\n".encode(),
        "LICENSE": b"free",
    }
    path = f"weights/{world.assets.url.removeprefix('http://').replace(':', '+')}{world.weights}"
    world.git.commit("team/vision", files)
    world.git.commit("pytorch/hub", {"team_small.md": card("team/vision", "main"), "README.md": b"# no card\n"})
    world.endpoint = world.git.remote("pytorch/hub")
    world.expected = {"team_small": {**files, path: WEIGHTS, "team_small.md": card("team/vision", "main")}}


def _modelzoo(world: World) -> None:
    files = {"README.md": b"# small\n", "model.bin": WEIGHTS}
    world.git.commit("team/small", files)
    link = world.git.remote("team/small")
    rows = [{"slug": "small", "title": "Small", "stars": 3, "framework": "keras", "link": f"{link}/tree/main#use"}]
    world.weights = "/api/models/"
    world.assets.data[world.weights] = json.dumps({"models": rows}).encode()
    world.assets.types[world.weights] = "application/json"
    world.endpoint = world.assets.url
    world.expected = {"small": files}


def _modelhub(world: World) -> None:
    world.weights = "/team/small/releases/download/v1/model.onnx"
    world.assets.data[world.weights] = WEIGHTS
    init = {
        "external_contrib_files": [
            {"src_url": world.assets.url + world.weights, "dest_file_path": "/contrib_src/model/model.onnx"}
        ]
    }
    files = {"init/init.json": json.dumps(init).encode(), "contrib_src/model/config.json": b"{}"}
    plain = {"contrib_src/model/model.bin": WEIGHTS[:1000]}
    world.git.commit("team/small", files)
    world.git.commit("team/plain", plain)
    rows = [
        {"id": "1", "name": "small", "github": world.git.remote("team/small"), "github_branch": "main", "backend": []},
        {"id": "2", "name": "plain", "github": world.git.remote("team/plain"), "email": "someone@hub.invalid"},
    ]
    world.git.commit("team/registry", {"models.json": json.dumps(rows).encode()})
    world.endpoint = world.git.remote("team/registry")
    world.expected = {"small": {**files, "contrib_src/model/model.onnx": WEIGHTS}, "plain": plain}
