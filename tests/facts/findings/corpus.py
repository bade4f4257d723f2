"""Packages made here, by our own code: malicious ones, that would run a program that does nothing, and benign ones.

Nothing of it is ever loaded. Every attack names the file `marker`, so that a program that ran one would leave a trace.
"""

import bz2
import collections
import datetime as dt
import decimal
import fractions
import gzip
import json
import lzma
import pickle
import random
import struct
import uuid
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import PurePosixPath
from typing import NamedTuple

import numpy as np

from tests.facts.findings.containers import (
    gguf,
    hdf5,
    joblib,
    keras,
    npy,
    objects_npy,
    onnx,
    safetensors,
    tarred,
    torch_members,
    zipped,
)
from tests.facts.findings.pickled import (
    BUILD,
    EMPTY_DICT,
    MARK,
    TUPLE,
    attack,
    call,
    imported,
    inst,
    newobj,
    number,
    obj,
    start,
    text,
    whole,
)


class Sample(NamedTuple):
    """A package: its name, and its files."""

    name: str
    files: dict[str, bytes]


GADGETS = tuple(
    """
    os.system posix.system nt.system os.popen os.execv os.spawnl subprocess.Popen subprocess.check_output
    subprocess.run subprocess.call builtins.eval builtins.exec builtins.compile builtins.__import__ builtins.open
    __builtin__.eval __builtin__.execfile importlib.import_module runpy.run_path runpy._run_code pty.spawn pip.main
    pip._internal.main timeit.timeit cProfile.run profile.run pdb.run bdb.Bdb trace.Trace doctest.testfile
    code.InteractiveInterpreter webbrowser.open socket.create_connection urllib.request.urlopen ctypes.CDLL
    asyncio.unix_events._UnixSubprocessTransport multiprocessing.util.spawnv_passfds pydoc.pipepager shutil.rmtree
    pickle.loads _pickle.loads marshal.loads dill.loads cloudpickle.loads numpy.load torch.load joblib.load
    pandas.read_pickle numpy.f2py.crackfortran.getlincoef numpy.testing._private.utils.runstring torch.hub.load
    torch.utils._config_module.load_config torch.utils.bottleneck.__main__.run_cprofile torch.utils.collect_env.run
    torch.jit.unsupported_tensor_ops.execWrapper idlelib.autocomplete.fetch_completions
    lib2to3.pgen2.grammar.Grammar.loads ensurepip._run_pip distutils.file_util.write_file logging.config.listen
    operator.methodcaller types.FunctionType types.CodeType functools.reduce evil_module.run attacker.payload
    """.split()  # noqa: SIM905  # a table, not a text
)


def malicious(marker: str) -> Iterator[Sample]:
    """Yield packages that run a program when they are loaded, or lead a loader out of the package."""
    command = f"true {marker}"
    for number_, gadget in enumerate(GADGETS):
        module, _, name = gadget.rpartition(".")
        for protocol in (0, 2, 4) if number_ < 24 else (number_ % 3 * 2,):
            yield Sample(f"{gadget} p{protocol}", {"model.pkl": attack(module, name, command, protocol)})
    evil = attack("os", "system", command)
    yield from _opcodes(command, evil)
    yield from _archives(evil)
    yield from _containers(command, evil)
    yield from _texts(marker)


def _opcodes(command: str, evil: bytes) -> Iterator[Sample]:
    def one(name: str, data: bytes, file: str = "pytorch_model.bin") -> Sample:
        return Sample(name, {file: data})

    for protocol in range(6):
        yield one(f"system p{protocol}", attack("posix", "system", command, protocol))
    yield one("inst", inst("os", "system", command))
    yield one("obj", obj("os", "system", command))
    yield one("newobj", newobj("subprocess", "Popen", state=text(command, 2)))
    yield one("after stop", pickle.dumps({"a": 1}) + evil)
    yield one("after stop and noise", pickle.dumps({"a": 1}) + bytes(700) + evil)
    yield one("truncated", evil[:-1])
    yield one("broken after the call", evil[:-1] + b"\xff\xff\xff")
    yield one("broken before its end", start(2) + call("os", "system", text(command, 2), 2) + b"\x00garbage")
    names = text("os", 4) + b"\x940" + text("system", 4) + b"\x940"
    memo = start(4) + names + b"h\x00h\x01\x93" + MARK + text(command, 4) + TUPLE + b"R."
    yield one("names from the memo", memo)
    joined = call("builtins", "str", text("os", 4), 4)
    yield one("computed name", whole(joined + text("system", 4) + b"\x93" + MARK + text(command, 4) + TUPLE + b"R", 4))
    reached = call("builtins", "getattr", imported("collections", "OrderedDict", 2) + text("__init__", 2), 2)
    yield one("getattr of a dunder", whole(reached, 2))
    dotted = imported("collections", "OrderedDict.__init__.__globals__", 4)
    yield one("attributes in a name", whole(dotted, 4))
    yield one("module behind a framework", attack("torch.serialization", "os.system", command, 4))
    yield one("partial", whole(call("functools", "partial", imported("os", "system", 2) + text(command, 2), 2), 2))
    nested = call("pickle", "loads", b"C" + bytes([len(evil)]) + evil, 4)
    yield one("nested", whole(nested, 4))
    hidden = call("torch.storage", "_load_from_bytes", b"B" + struct.pack("<I", len(evil)) + evil, 3)
    yield one("bytes of a storage", whole(hidden, 3))
    yield one("build of a class", whole(imported("collections", "OrderedDict", 2) + EMPTY_DICT + BUILD, 2))
    yield one("padded", whole(b"N0" * 20_000 + call("os", "system", text(command, 2), 2), 2))
    yield one("extension", whole(b"\x82\x07" + MARK + text(command, 2) + TUPLE + b"R", 2))
    for name in ("config.json", "model.safetensors", "README.md", "weights.dat", "tokenizer.model"):
        yield one(f"pickle named {name}", evil, name)
    legacy = pickle.dumps(0x1950A86A20F9469CFC6C, 2) + pickle.dumps(1001, 2) + pickle.dumps({"little_endian": True}, 2)
    yield one("legacy torch", legacy + evil + pickle.dumps(["0"], 2) + struct.pack("<Q", 1) + bytes(4))
    yield one("joblib", joblib(np.arange(6.0), behind=call("os", "system", text(command, 4), 4)), "m.joblib")
    yield one("joblib objects", joblib(None, objects=evil), "m.joblib")


def _archives(evil: bytes) -> Iterator[Sample]:
    def one(name: str, data: bytes, file: str = "pytorch_model.bin") -> Sample:
        return Sample(name, {file: data})

    plain = zipped(torch_members(evil))
    yield one("torch zip", plain)
    yield one("torch zip deflated", zipped(torch_members(evil), zipfile.ZIP_DEFLATED))
    yield one("torch zip bzip2", zipped(torch_members(evil), zipfile.ZIP_BZIP2))
    yield one("second pickle", zipped(torch_members(pickle.dumps({}, 2), **{"code.bin": evil})))
    yield one("odd member", zipped({"archive/data.txt": evil}))
    flagged = bytearray(plain)
    central = plain.rindex(b"PK\x01\x02", 0, plain.index(b"archive/byteorder", plain.index(b"PK\x01\x02")))
    first = plain.index(b"PK\x01\x02")
    flagged[6] |= 1
    flagged[first + 8] |= 1
    yield one("flagged as encrypted", bytes(flagged))
    only = bytearray(plain)
    only[first + 8] |= 1
    yield one("flagged in the directory alone", bytes(only))
    renamed = bytearray(plain)
    at = plain.index(b"archive/data.pkl")
    renamed[at : at + 16] = b"archive/data.txt"
    yield one("another name in the member", bytes(renamed))
    assert central >= first
    method = bytearray(plain)
    method[first + 10] = 8
    yield one("another method in the directory", bytes(method))
    yield one("prefix", b"#!/bin/sh\n" + b"x" * 600 + plain)
    yield one("prefix with a pickle", pickle.dumps({}) + plain)
    yield one("no directory", plain[:first])
    yield one("zip in zip", zipped({"inner.zip": plain}))
    yield one("zip in zip in tar", tarred({"a/b.zip": zipped({"inner.pt": plain})}))
    yield one("zip that leads out", zipped({"../../evil.pkl": evil}))
    yield one("7z", b"7z\xbc\xaf\x27\x1c\x00\x04" + bytes(200))
    yield one("tar", tarred({"model/data.pkl": evil}), "model.tar")
    yield one("tar that leads out", tarred({"../../evil.pkl": evil}), "model.tar")
    yield one(
        "legacy torch tar",
        tarred(
            {
                "sys_info": pickle.dumps({}, 2),
                "pickle": evil,
                "tensors": pickle.dumps(0, 2),
                "storages": pickle.dumps(0, 2),
            }
        ),
    )
    storages = pickle.dumps(1, 2) + attack("os", "system", "true", 2) + struct.pack("<Q", 1) + bytes(4)
    yield one(
        "storages of a torch tar",
        tarred(
            {
                "sys_info": pickle.dumps({}, 2),
                "pickle": pickle.dumps({}, 2),
                "tensors": pickle.dumps(0, 2),
                "storages": storages,
            }
        ),
    )
    for name, data in (
        ("gzip", gzip.compress(evil)),
        ("bzip2", bz2.compress(evil)),
        ("xz", lzma.compress(evil)),
        ("lzma", lzma.compress(evil, lzma.FORMAT_ALONE)),
        ("zlib", zlib.compress(evil)),
    ):
        yield one(f"joblib {name}", data, "model.joblib")


def bombs(marker: str, size: int) -> Iterator[Sample]:
    """Yield packages of some kB that unpack to `size` bytes, with a pickle behind."""
    evil = attack("os", "system", f"true {marker}")
    packed = zipped({"archive/data/0": bytes(size), "archive/data.pkl": evil}, zipfile.ZIP_DEFLATED)
    yield Sample("bomb in a zip", {"bomb.pt": packed})
    yield Sample(
        "bomb of joblib",
        {"bomb.joblib": zlib.compress(attack("os", "system", "true")[:-1] + b"N0" * (size // 512) + b".", 9)},
    )


def _containers(command: str, evil: bytes) -> Iterator[Sample]:
    yield Sample("npy of objects", {"data.npy": objects_npy(evil)})
    yield Sample("npz of objects", {"data.npz": zipped({"a.npy": objects_npy(evil)})})
    yield Sample("npy with a pickle", {"data.npy": npy(np.arange(3))[:128] + evil})
    yield Sample("safetensors with a trailer", {"model.safetensors": safetensors(evil)})
    yield Sample("safetensors with a zip", {"model.safetensors": safetensors(zipped(torch_members(evil)))})
    yield Sample("safetensors with noise", {"model.safetensors": safetensors(b"\x07" * 100)})
    twice = (
        b'{"w":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"w":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}'
    )
    yield Sample("safetensors with a name twice", {"model.safetensors": safetensors(header=twice)})
    yield Sample(
        "keras lambda", {"model.keras": zipped({"config.json": keras("Dense", "Lambda"), "metadata.json": b"{}"})}
    )
    yield Sample("keras lambda h5", {"model.h5": hdf5(keras("Dense", "Lambda"))})
    yield Sample("keras lambda json", {"config.json": keras("Lambda")})
    yield Sample("onnx custom operator", {"model.onnx": onnx(domain="evil.ops")})
    yield Sample("onnx outward data", {"model.onnx": onnx(location="../../../../etc/passwd")})
    yield Sample("onnx absolute data", {"model.onnx": onnx(location="/etc/passwd")})
    yield Sample("onnx data of a drive", {"model.onnx": onnx(location="C:\\secret")})
    yield Sample("gguf template", {"model.gguf": gguf(template=SSTI[0])})
    yield Sample("gguf counts", {"model.gguf": gguf(keys=1 << 40)})
    graph = b"\x0a\x10\x0a\x04node\x12\x06PyFunc\x1a\x01x" + bytes(20)
    yield Sample("graph with Python", {"saved_model.pb": graph})
    yield Sample("graph that writes", {"saved_model.pb": b"\x0a\x13\x0a\x04node\x12\x09WriteFile\x1a\x01x" + bytes(20)})
    yield Sample("pickle in the middle", {"weights.bin": bytes(5000) + b"cposix\nsystem\n(S'true'\ntR." + bytes(5000)})
    yield Sample("stack global in the middle", {"weights.bin": b"\x01" * 900 + attack("os", "system", command, 4)})


SSTI = (
    "{{ ''.__class__.__mro__[1].__subclasses__() }}",
    "{% for x in ().__class__.__base__.__subclasses__() %}{% endfor %}",
    "{{ cycler.__init__.__globals__.os.popen('true').read() }}",
    "{{ messages['__class__'] }}",
    "{{ messages|attr('__cla' ~ 'ss__') }}",
    "{{ messages|attr(name) }}",
    "{{ lipsum.x }}{{ self.y }}",
    "{% set a = '__globals__' %}{{ messages[a] }}",
    "{% include other %}",
)


def _texts(marker: str) -> Iterator[Sample]:
    for template in SSTI:
        yield Sample(
            f"template {template}", {"tokenizer_config.json": json.dumps({"chat_template": template}).encode()}
        )
    named = [{"name": "default", "template": "{{ messages }}"}, {"name": "tool_use", "template": SSTI[0]}]
    yield Sample("named templates", {"tokenizer_config.json": json.dumps({"chat_template": named}).encode()})
    yield Sample("template of its own", {"chat_template.jinja": SSTI[0].encode()})
    yield Sample("hubconf", {"hubconf.py": f"import os as o\no.system('true {marker}')\n".encode()})
    config = json.dumps({"auto_map": {"AutoModel": "modeling_evil.Evil"}}).encode()
    for line in ("exec('pass')", "__import__('os').system('true')", "import subprocess\nsubprocess.run(['true'])"):
        yield Sample(f"code: {line}", {"config.json": config, "modeling_evil.py": f"{line}\n".encode()})


HARMLESS_NAMES = tuple(
    """
    torch.FloatStorage torch.HalfStorage torch.BFloat16Storage torch.LongStorage torch.BoolStorage
    torch._utils._rebuild_tensor_v2 torch._utils._rebuild_parameter torch._utils._rebuild_qtensor torch.Size
    torch.device torch.float16 torch.bfloat16 torch.nn.modules.linear.Linear torch.nn.modules.conv.Conv2d
    torch.nn.modules.container.Sequential torch.nn.modules.activation.ReLU torch.nn.modules.normalization.LayerNorm
    torch.nn.parameter.Parameter torch.optim.adam.Adam torch.optim.lr_scheduler.LambdaLR
    torch._tensor._rebuild_from_type_v2 torch.torch_version.TorchVersion torch.serialization._get_layout
    torchvision.models.resnet.ResNet torchvision.models.resnet.BasicBlock torchvision.transforms.transforms.Compose
    numpy.core.multiarray._reconstruct numpy._core.multiarray._reconstruct numpy.core.multiarray.scalar numpy.dtype
    numpy.ndarray numpy.float64 numpy.random._pickle.__randomstate_ctor numpy.random._pickle.__generator_ctor
    numpy.random._mt19937.MT19937 numpy.ma.core._mareconstruct collections.OrderedDict collections.defaultdict
    collections.Counter collections.deque datetime.datetime datetime.timedelta decimal.Decimal fractions.Fraction
    uuid.UUID pathlib.PosixPath argparse.Namespace functools.partial copyreg._reconstructor _codecs.encode
    builtins.set builtins.frozenset builtins.slice builtins.bytearray builtins.complex builtins.range
    types.SimpleNamespace operator.itemgetter random.Random sklearn.linear_model._logistic.LogisticRegression
    sklearn.ensemble._forest.RandomForestClassifier sklearn.tree._classes.DecisionTreeClassifier
    sklearn.tree._tree.Tree sklearn.pipeline.Pipeline sklearn.preprocessing._data.StandardScaler
    sklearn.feature_extraction.text.TfidfVectorizer sklearn.svm._classes.SVC sklearn.cluster._kmeans.KMeans
    sklearn.neighbors._kd_tree.newObj sklearn.naive_bayes.MultinomialNB sklearn.preprocessing._label.LabelEncoder
    sklearn.decomposition._pca.PCA sklearn.ensemble._gb.GradientBoostingClassifier sklearn._loss.link.LogitLink
    joblib.numpy_pickle_compat.NDArrayWrapper scipy.sparse._csr.csr_matrix scipy.sparse.csr.csr_matrix
    xgboost.sklearn.XGBClassifier xgboost.core.Booster lightgbm.sklearn.LGBMClassifier lightgbm.basic.Booster
    pandas.core.frame.DataFrame pandas.core.series.Series pandas.core.internals.managers.BlockManager
    pandas._libs.internals._unpickle_block pandas.core.indexes.base.Index pandas.core.indexes.base._new_Index
    transformers.training_args.TrainingArguments transformers.trainer_utils.IntervalStrategy
    transformers.trainer_utils.HubStrategy transformers.training_args.OptimizerNames
    transformers.models.bert.tokenization_bert.BertTokenizer transformers.trainer_pt_utils.AcceleratorConfig
    accelerate.state.PartialState accelerate.utils.dataclasses.DistributedType tokenizers.Tokenizer
    sentence_transformers.training_args.BatchSamplers omegaconf.dictconfig.DictConfig
    omegaconf.listconfig.ListConfig fairseq.data.dictionary.Dictionary
    pytorch_lightning.callbacks.model_checkpoint.ModelCheckpoint ultralytics.nn.tasks.DetectionModel
    ultralytics.nn.modules.conv.Conv stable_baselines3.common.policies.ActorCritic gymnasium.spaces.box.Box
    gym.spaces.discrete.Discrete spacy.strings.StringStore keras.engine.sequential.Sequential
    tensorflow.python.framework.dtypes.as_dtype gensim.models.keyedvectors.KeyedVectors flair.data.Dictionary
    timm.models.vision_transformer.VisionTransformer peft.tuners.lora.config.LoraConfig nltk.probability.FreqDist
    deepspeed.runtime.zero.config.ZeroStageEnum ml_dtypes.bfloat16 jax._src.array._reconstruct_array
    """.split()  # noqa: SIM905  # a table, not a text
)

TEMPLATES = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}",
    (
        "{{ bos_token }}{% for m in messages %}{% if (m['role'] == 'user') != (loop.index0 % 2 == 0) %}"
        "{{ raise_exception('roles must alternate') }}{% endif %}{{ '[INST] ' + m.content | trim }}{% endfor %}"
    ),
    (
        "{%- set ns = namespace(found=false) -%}{% for m in messages if not m.skip %}{% set ns.found = true %}"
        "{% generation %}{{ m.content }}{% endgeneration %}{% endfor %}"
    ),
    "{% macro one(m) %}{{ m | tojson(indent=4) }}{% endmacro %}{% for m in messages %}{{ one(m) }}{% endfor %}",
    "{% for m in messages %}{% if m.skip %}{% break %}{% endif %}{{ m.content }}{% endfor %}",
    "{{ messages | selectattr('role', 'equalto', 'user') | map(attribute='content') | join('__') }}",
    "{% if tools is defined and tools %}{{ strftime_now('%d %b %Y') }}{{ tools[0].function.name }}{% endif %}",
)

CODE = (
    b"import math\nimport torch\nfrom torch import nn\n\nclass Net(nn.Module):\n    def __init__(self, config):\n"
    b"        super().__init__()\n        self.a = nn.Linear(config.a, 2)\n\n    def forward(self, x):\n"
    b"        return self.a(x).eval()\n"
)


def _plain_values() -> Iterator[tuple[str, object]]:
    rng = random.Random(7)
    yield "dict", {"epoch": 3, "loss": 0.25, "name": "bert"}
    yield "nested", {"a": [1, 2, {"b": (3, None, True)}]}
    yield "ordered", collections.OrderedDict(w=[1.5, 2.5], b=[0.1])
    yield "counter", collections.Counter("abracadabra")
    yield "default", collections.defaultdict(list, a=[1])
    yield "times", [dt.datetime(2026, 1, 2, tzinfo=dt.UTC), dt.timedelta(days=1)]
    yield "numbers", [decimal.Decimal("1.5"), fractions.Fraction(1, 3), 2**80, 1j]
    yield "sets", [{1, 2}, frozenset({3}), slice(1, 2), range(4), bytearray(b"x")]
    yield "others", [uuid.UUID(int=5), PurePosixPath("a/b"), rng]
    yield "array", np.arange(12.0).reshape(3, 4)
    yield "arrays", {"w": np.ones((4, 4), np.float16), "b": np.zeros(4, ">f8"), "i": np.int64(3)}
    yield "objects", np.array(["a", None, {"b": 1}], dtype=object)
    yield "structured", np.zeros(3, dtype=[("a", "<i4"), ("b", "<f8")])
    yield "generator", np.random.default_rng(3)
    yield "masked", np.ma.masked_array([1, 2], mask=[False, True])
    yield "bytes", {"blob": bytes(range(256)) * 40}


def benign() -> Iterator[Sample]:
    """Yield packages as common frameworks write them."""
    for name, value in _plain_values():
        for protocol in range(6):
            yield Sample(f"{name} p{protocol}", {"model.pkl": pickle.dumps(value, protocol)})
    for position, whole_name in enumerate(HARMLESS_NAMES):
        module, _, name = whole_name.rpartition(".")
        protocol = 2 + position % 3
        made = newobj(module, name, protocol, EMPTY_DICT) if name[:1].isupper() else attack(module, name, "a", protocol)
        yield Sample(whole_name, {"pytorch_model.bin": zipped(torch_members(made)) if position % 2 else made})
    yield from _benign_files()


def _enum(module: str, outer: str, name: str) -> bytes:
    return whole(call("builtins", "getattr", imported(module, outer, 2) + text(name, 2), 2), 2)


def _benign_files() -> Iterator[Sample]:
    numbers = pickle.dumps(collections.OrderedDict(a=1), 2)
    yield Sample("enum member", {"training_args.bin": _enum("transformers.trainer_utils", "IntervalStrategy", "STEPS")})
    legacy = pickle.dumps(0x1950A86A20F9469CFC6C, 2) + pickle.dumps(1001, 2) + pickle.dumps({"little_endian": True}, 2)
    storages = struct.pack("<Q", 640) + np.random.default_rng(5).bytes(2560)
    yield Sample("legacy torch", {"model.pth": legacy + numbers + pickle.dumps(["0"], 2) + storages})
    tar = {"sys_info": numbers, "pickle": numbers, "tensors": pickle.dumps(0, 2), "storages": pickle.dumps(0, 2)}
    yield Sample("legacy torch tar", {"model.t7.pth": tarred(tar)})
    yield Sample("joblib", {"model.joblib": joblib(np.arange(64.0))})
    yield Sample("joblib behind", {"model.joblib": joblib(np.arange(64.0), behind=number(3))})
    yield Sample("joblib objects", {"model.joblib": joblib(None, objects=pickle.dumps([1, "a"], 4))})
    for name, packed in (("gz", gzip.compress), ("bz2", bz2.compress), ("xz", lzma.compress), ("z", zlib.compress)):
        yield Sample(f"joblib {name}", {f"model.pkl.{name}": packed(joblib(np.arange(99.0)))})
    yield Sample("npy", {"data.npy": npy(np.arange(10.0))})
    yield Sample("npz", {"data.npz": zipped({"a.npy": npy(np.arange(10.0)), "b.npy": npy(np.eye(3))})})
    yield Sample("npy objects", {"data.npy": npy(np.array(["a", None], dtype=object))})
    yield Sample("safetensors", {"model.safetensors": safetensors(), "config.json": b'{"model_type": "bert"}'})
    yield Sample("gguf", {"model.gguf": gguf()})
    for template in TEMPLATES:
        yield Sample(
            f"template {template[:30]}", {"tokenizer_config.json": json.dumps({"chat_template": template}).encode()}
        )
        yield Sample(f"gguf template {template[:30]}", {"model.gguf": gguf(template=template)})
        yield Sample(f"jinja {template[:30]}", {"chat_template.jinja": template.encode()})
    yield Sample("onnx", {"model.onnx": onnx()})
    yield Sample("onnx of Microsoft", {"model.onnx": onnx(domain="com.microsoft")})
    yield Sample("onnx with data", {"model.onnx": onnx(location="model.onnx_data"), "model.onnx_data": bytes(64)})
    yield Sample(
        "keras", {"model.keras": zipped({"config.json": keras("Dense", "Conv2D"), "model.weights.h5": hdf5(b"")})}
    )
    yield Sample("keras h5", {"model.h5": hdf5(keras("Dense", "TFOpLambda"))})
    yield Sample("saved model", {"saved_model.pb": b"\x0a\x0c\x0a\x04node\x12\x06MatMul" + bytes(40)})
    config = json.dumps({"auto_map": {"AutoModel": "modeling_net.Net"}}).encode()
    yield Sample("package code", {"config.json": config, "modeling_net.py": CODE})
    yield Sample("module alone", {"model.py": CODE, "README.md": b"# A model\n\nos.system is not called\n"})
    yield Sample(
        "texts", {"README.md": b"eval(1)\n", "vocab.txt": b"c\nos\nsystem\n", "merges.txt": b"#version\na b\n"}
    )
    noise = np.random.default_rng(11)
    for size in (100, 5_000, 200_000):
        yield Sample(
            f"noise {size}", {"weights.dat": noise.bytes(size), "flax_model.msgpack": b"\x81" + noise.bytes(size)}
        )
    yield Sample("zip of texts", {"archive.zip": zipped({"a.txt": b"hello", "b/c.json": b"{}"}, zipfile.ZIP_DEFLATED)})
