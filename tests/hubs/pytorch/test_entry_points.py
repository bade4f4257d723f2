"""Which weights an entry point can load, in the coding styles found in repositories of PyTorch Hub."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ptmtorrent.errors import HubError
from ptmtorrent.hubs.pytorch.cards import find_weights

HOST = "https://host.invalid"


def found(files: dict[str, str], *entries: str) -> set[str]:
    data = {path: text.encode() for path, text in files.items()}
    return {url.removeprefix(f"{HOST}/") for url in find_weights(data["hubconf.py"], entries, data.get)}


def test_table_of_addresses_beside_the_imported_function() -> None:
    files = {
        "hubconf.py": "from vision.models.resnet import resnet18, resnet50\n",
        "vision/models/resnet.py": f"""
from .utils import load
model_urls = {{"resnet18": "{HOST}/resnet18-f37072fd.pth", "resnet50": "{HOST}/resnet50-0676ba61.pth"}}
def _resnet(arch): return load(model_urls[arch])
def resnet18(pretrained=False): return _resnet("resnet18")
def resnet50(pretrained=False): return _resnet("resnet50")
""",
    }
    assert found(files, "resnet18") == {"resnet18-f37072fd.pth"}
    assert found(files, "resnet18", "resnet50") == {"resnet18-f37072fd.pth", "resnet50-0676ba61.pth"}
    assert found(files) == found(files, "resnet18", "resnet50")


def test_classes_of_weights_that_a_function_mentions() -> None:
    files = {
        "hubconf.py": "from vision.models import alexnet\n",
        "vision/models/__init__.py": "from .alexnet import *\nfrom .vgg import *\n",
        "vision/models/alexnet.py": f"""
class AlexNet_Weights(WeightsEnum):
    V1 = Weights(url="{HOST}/alexnet-owt-7be5be79.pth", meta=dict(page="{HOST}/page.html"))
@register(weights=("pretrained", AlexNet_Weights.V1))
def alexnet(*, weights: Optional[AlexNet_Weights] = None): ...
""",
        "vision/models/vgg.py": f"class VGG_Weights:\n    V1 = '{HOST}/vgg-1.pth'\ndef vgg(w=VGG_Weights): ...\n",
    }
    assert found(files, "alexnet") == {"alexnet-owt-7be5be79.pth"}


def test_key_that_is_made_while_running_means_the_whole_table() -> None:
    files = {
        "hubconf.py": f"""
urls = {{"a_coco": "{HOST}/a.pth", "b_coco": "{HOST}/b.pth"}}
def a(): return _load("a")
def _load(arch): return urls[arch + "_coco"]
""",
    }
    assert found(files, "a") == {"a.pth", "b.pth"}


def test_addresses_put_together_of_constants() -> None:
    files = {
        "hubconf.py": "from src_only.hub import slow\n",
        "src/src_only/hub.py": f"""
root = "{HOST}/zoo"
paths = {{"slow": f"{{root}}/SLOW_8x8.pyth", "fast": root + "/FAST.pyth"}}
def slow(): return get(paths["slow"])
""",
    }
    assert found(files, "slow") == {"zoo/SLOW_8x8.pyth"}


def test_import_inside_a_function_and_a_module_by_another_name() -> None:
    files = {
        "hubconf.py": "def net():\n    from models import zoo as z\n    return z.net()\n",
        "models/__init__.py": "",
        "models/zoo.py": f"U = '{HOST}/net.pt'\nV = '{HOST}/unused.pt'\ndef net(): return U\n",
    }
    assert found(files, "net") == {"net.pt"}


def test_circle_of_imports_and_modules_that_are_no_python_end() -> None:
    files = {
        "hubconf.py": f"from a import x\nfrom old import y\nURL = '{HOST}/last.pth'\n",
        "a.py": "from b import x\n",
        "b.py": "from a import x\n",
        "old.py": "print 'two'\n",
    }
    assert found(files, "x", "y") == {"last.pth"}


def test_name_that_refers_to_itself_is_no_text() -> None:
    assert found({"hubconf.py": f"a = a + '/x.pth'\nb = '{HOST}/b.pth'\ndef f(): return a, b\n"}, "f") == {"b.pth"}


def test_entry_point_that_is_not_there_means_all_that_are() -> None:
    assert found({"hubconf.py": f"def f(): return '{HOST}/f.pth'\n"}, "g") == {"f.pth"}


def test_more_weights_than_any_package_has_are_refused() -> None:
    with pytest.raises(HubError, match="over the limit of 1,000"):
        found({"hubconf.py": "def f(): return [" + ",".join(f"'{HOST}/{n}.pth'" for n in range(1001)) + "]\n"})


@given(st.dictionaries(st.sampled_from(["hubconf.py", "a.py", "a/__init__.py"]), st.binary(max_size=200)))
def test_any_repository_is_read_or_refused(files: dict[str, bytes]) -> None:
    files.setdefault("hubconf.py", b"from a import *")
    try:
        assert all(url.startswith("http") for url in find_weights(files["hubconf.py"], ["f"], files.get))
    except HubError as error:
        assert "hubconf.py" in error.message  # noqa: PT017
