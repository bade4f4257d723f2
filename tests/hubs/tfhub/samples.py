"""TensorFlow Hub as it is today, on loopback: documents in git, handles that redirect, and Kaggle with the bytes."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from ptmtorrent.hubs.client.session import Session
from ptmtorrent.hubs.git.clones import Clones
from ptmtorrent.hubs.git.process import Git
from ptmtorrent.hubs.tfhub.adapter import TensorFlowHub
from tests.hubs.kaggle.samples import fill
from tests.simulators.assets import Assets, serve_assets
from tests.simulators.git_server import GitServer, serve_git
from tests.simulators.kaggle import Kaggle, serve_kaggle

TAGS = "<!-- task: image-pose-detection -->\n<!-- format: saved_model_2 -->\n<!-- license: Apache-2.0 -->\n"


@dataclass
class Tensorflow:
    git: GitServer
    redirector: Assets
    kaggle: Kaggle
    work: Path
    documents: dict[str, bytes] = field(default_factory=dict)

    @property
    def endpoint(self) -> str:
        return self.git.remote("tensorflow/tfhub.dev")

    def hub(self, session: Session | None = None) -> TensorFlowHub:
        clones = Clones(Git({"PATH": "/usr/bin:/bin"}), self.work)
        return TensorFlowHub(self.endpoint, clones, redirector=self.redirector.url, session=session)

    def lead(self, handle: str, to: str) -> None:
        """Redirect a handle to `owner/model/framework/variation[/version]` on Kaggle."""
        self.redirector.moved[f"/{handle}"] = f"{self.kaggle.url}/models/{to}?tfhub-redirect=true"


@contextmanager
def tensorflow(folder: Path, through: Callable[[str], str] = str) -> Iterator[Tensorflow]:
    """Serve the hub under the addresses that `through` makes of those of the simulators."""
    (folder / "served").mkdir()
    with serve_git(folder / "served") as git, serve_assets() as redirector, serve_kaggle() as kaggle:
        git.url, redirector.url = through(git.url), through(redirector.url)
        fill(kaggle)
        made = Tensorflow(git, redirector, kaggle, folder / "work")
        made.documents = {
            "assets/docs/team/models/small/0.md": f"# Module team/small/0\nSmall.\n\n{TAGS}".encode(),
            "assets/docs/team/models/small/1.md": f"# Module team/small/1\nSmall.\n\n{TAGS}".encode(),
            "assets/docs/team/models/small/lite/1.md": b"# Lite team/small/1\nFor phones.\n",
            "assets/docs/team/collections/all.md": b"# Collection team/all/1\nAll of them.\n",
            "assets/docs/team/team.md": b"# Publisher team\nThe team.\n",
            "README.md": b"# What this is\n",
        }
        git.commit("tensorflow/tfhub.dev", made.documents)
        made.lead("team/small/0", "team/small/tensorFlow2/v-0/3")
        made.lead("team/small/1", "team/small/tensorFlow2/v-1")
        yield made
