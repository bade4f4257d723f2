"""What the globals that pickles import are known for.

A name is harmless (a common framework writes it, and calling it with data builds a value), it runs code (calling it
with data runs a program, or reads, writes or loads what the data name), or it is unknown: code of another package,
which runs when that package is installed.

Sources: the pickles that the named frameworks write; the documentation of Python's standard library.
"""

import re
import sys
from collections.abc import Mapping
from types import MappingProxyType

from ptmtorrent.model.findings import Level

HARMLESS: Mapping[str, frozenset[str]] = MappingProxyType(
    {
        module: frozenset(names.split())
        for module, names in {
            "builtins": "xrange unicode long set frozenset "
            "bytearray bytes complex slice range object list dict int float str bool tuple "
            "NoneType type Ellipsis NotImplemented property reversed zip enumerate map filter iter print abs len min "
            "max sum sorted any all round divmod pow hash repr Exception ValueError TypeError KeyError IndexError",
            "collections": "OrderedDict defaultdict Counter deque ChainMap UserDict UserList namedtuple",
            "collections.abc": "Mapping Sequence Iterable Callable",
            "_codecs": "encode",
            "codecs": "encode",
            "copyreg": "_reconstructor __newobj__ __newobj_ex__",
            "datetime": "datetime date time timedelta timezone",
            "decimal": "Decimal Context",
            "fractions": "Fraction",
            "uuid": "UUID SafeUUID",
            "pathlib": "Path PosixPath WindowsPath PurePath PurePosixPath PureWindowsPath",
            "pathlib._local": "Path PosixPath WindowsPath PurePath PurePosixPath PureWindowsPath",
            "types": "SimpleNamespace NoneType GenericAlias MappingProxyType",
            "argparse": "Namespace",
            "functools": "partial",
            "operator": "itemgetter add sub mul truediv neg pos and_ or_ not_ lt le eq ne gt ge",
            "random": "Random",
            "re": "_compile compile Pattern RegexFlag",
            "time": "struct_time",
            "array": "array _array_reconstructor",
            "enum": "Enum IntEnum Flag",
            "string": "Template Formatter",
            "itertools": "count chain repeat islice",
            "queue": "Queue",
            "logging": "Logger getLogger",
            "threading": "Lock RLock Event",
            "_thread": "allocate_lock RLock",
            "weakref": "WeakValueDictionary WeakKeyDictionary ref",
            "typing": "Any Union Optional List Dict Tuple",
            "zoneinfo": "ZoneInfo",
            "ipaddress": "IPv4Address IPv6Address",
            "math": "sqrt exp log tanh sin cos",
            "io": "BytesIO StringIO",
            "dataclasses": "_MISSING_TYPE",
            "abc": "ABCMeta",
            "ast": "Module",
            "numpy": "dtype ndarray bool_ int8 int16 int32 int64 uint8 uint16 uint32 uint64 float16 float32 float64 "
            "complex64 complex128 str_ bytes_ longlong ulonglong float_ int_ core matrix recarray void object_ "
            "datetime64 timedelta64 array random nan generic number ufunc",
            "numpy.ma.core": "_mareconstruct MaskedArray",
            "numpy.random": "RandomState",
            "numpy.random.mtrand": "RandomState",
            "numpy.random._mt19937": "MT19937",
            "numpy.random._pcg64": "PCG64",
            "numpy.random._generator": "Generator",
            "numpy.random._pickle": "__randomstate_ctor __bit_generator_ctor __generator_ctor",
            "numpy.matrixlib.defmatrix": "matrix",
            "numpy.dtypes": "Float32DType Float64DType Int64DType Int32DType BoolDType StrDType ObjectDType",
            "numpy._core._internal": "_convert_to_stringdtype_kwargs",
            "torch": "Size device dtype FloatTensor HalfTensor DoubleTensor LongTensor IntTensor BoolTensor ByteTensor "
            "BFloat16Tensor Tensor Generator layout memory_format finfo "
            "float32 float16 bfloat16 float64 int64 int32 int16 int8 uint8 uint16 uint32 uint64 bool float half double "
            "long int short complex64 complex128 complex32 qint8 quint8 qint32 quint4x2 quint2x4 float8_e4m3fn "
            "float8_e5m2 float8_e4m3fnuz float8_e5m2fnuz float8_e8m0fnu strided sparse_coo sparse_csr "
            "contiguous_format "
            "preserve_format channels_last per_tensor_affine per_channel_affine per_tensor_symmetric "
            "per_channel_symmetric",
            "torch.nn.parameter": "Parameter Buffer UninitializedParameter",
            "torch.nn": "Parameter",
            "torch.serialization": "_get_layout",
            "torch._tensor": "Tensor _rebuild_from_type_v2",
            "torch.storage": "UntypedStorage TypedStorage _load_from_bytes",
            "torch.distributed._tensor.api": "DTensor",
            "torch.jit._pickle": "build_intlist build_tensorlist build_doublelist build_boollist "
            "build_tensor_from_id restore_type_tag",
            "torch.backends.cudnn.rnn": "Unserializable",
            "joblib.numpy_pickle": "NumpyArrayWrapper NDArrayWrapper ZNDArrayWrapper",
            "joblib.numpy_pickle_compat": "NDArrayWrapper ZNDArrayWrapper",
            "pandas._libs.internals": "_unpickle_block",
            "pandas._libs.arrays": "__pyx_unpickle_NDArrayBacked",
            "pandas._libs.tslibs.timestamps": "_unpickle_timestamp",
            "pandas._libs.tslibs.offsets": "Day Hour Minute Second MonthEnd",
            "pandas.core.internals.managers": "BlockManager SingleBlockManager",
            "pandas.core.internals.blocks": "new_block",
            "pandas.core.indexes.base": "_new_Index Index",
            "tensorflow.python.framework.dtypes": "as_dtype DType",
            "tensorflow.python.trackable.data_structures": "ListWrapper _DictWrapper",
            "jax._src.array": "_reconstruct_array",
            "ml_dtypes": "bfloat16 float8_e4m3fn float8_e5m2",
            "catboost.core": "CatBoostClassifier CatBoostRegressor",
            "xgboost.core": "Booster DMatrix",
            "lightgbm.basic": "Booster Dataset",
            "gensim.models.keyedvectors": "KeyedVectors Vocab",
            "flair.data": "Dictionary Sentence Label",
            "spacy.strings": "StringStore",
            "__main__": "",
        }.items()
    }
)

_FRAMEWORKS = (
    "fairseq|pytorch_lightning|lightning|lightning_fabric|ultralytics|speechbrain|nemo|mmengine|deepspeed|"
    "stable_baselines3|gymnasium|gym|allennlp|detectron2|keras|tensorflow|spacy|thinc|nltk|flair|gensim|fastai|"
    "whisper|encodec|monai|espnet2?|kornia|albumentations|evaluate|setfit|torchmetrics|dgl|torch_geometric"
)

_HARMLESS_PATTERNS = tuple(
    re.compile(pattern)
    for pattern in (
        r"torch\.(cuda\.)?\w+Storage",
        r"torch(\._utils|\._tensor|\.nn\.utils\.stateless)?\._rebuild_\w+",
        r"torch\.(ao\.)?nn(\.\w+)*\.[A-Z]\w*",
        r"torch\.(optim|quantization|ao\.quantization|distributions)(\.\w+)*\.[A-Z]\w*",
        r"torch\.torch_version\.TorchVersion",
        r"torch\.sparse\._validate_\w+",
        r"torchvision\.(models|transforms|ops)(\.\w+)*\.[A-Z]\w*",
        r"torchvision\.transforms\.functional\.InterpolationMode",
        r"numpy\.(core|_core)\.(multiarray|numeric|numerictypes)\.(_reconstruct|scalar|_frombuffer|array)",
        r"numpy\.(random|ma|polynomial)(\.\w+)*\.[A-Z]\w*",
        r"(numpy|scipy|sklearn|pandas)(\.\w+)+\.__pyx_unpickle_\w+",
        r"sklearn\.(?!externals\b)\w+(\.\w+)*\.[A-Z]\w*",
        r"sklearn\.tree\._tree\.Tree|sklearn\.neighbors\._\w+\.(newObj|__pyx_unpickle_\w+)",
        r"sklearn(\.\w+)+\.(__pyx_unpickle_\w+|newObj|_newobj)",
        r"sklearn\._loss(\.\w+)+\.[A-Z]\w*",
        r"scipy\.(sparse|stats|interpolate|spatial|special|_lib)(\.\w+)*\.[A-Za-z]*(_matrix|_array|[A-Z]\w*|cKDTree)",
        r"pandas\.core\.(frame\.DataFrame|series\.Series|indexes(\.\w+)*\.[A-Z]\w*|arrays(\.\w+)*\.[A-Z]\w*)",
        r"pandas\.core\.dtypes\.dtypes\.[A-Z]\w*",
        r"(xgboost|lightgbm)\.sklearn\.[A-Z]\w*",
        r"transformers(\.\w+)*\.[A-Z]\w*",
        r"tokenizers(\.\w+)*\.[A-Z]\w*",
        r"(datasets|diffusers|peft|accelerate|sentence_transformers|timm|trl)(\.\w+)*\.[A-Z]\w*",
        r"omegaconf(\.\w+)*\.[A-Z]\w*",
        rf"({_FRAMEWORKS})(\.\w+)*\.[A-Z]\w*",
    )
)

_DANGEROUS = re.compile(
    r"(?:"
    r"(?:os|posix|nt|posixpath|ntpath|subprocess|_posixsubprocess|pty|commands|popen2|sys|runpy|importlib|imp|pkgutil|"
    r"zipimport|socket|_socket|ssl|ctypes|_ctypes|cffi|webbrowser|shutil|tempfile|glob|code|codeop|bdb|pdb|cProfile|"
    r"profile|timeit|trace|doctest|pydoc|pickle|_pickle|cPickle|shelve|dbm|marshal|multiprocessing|asyncio|threading|"
    r"signal|idlelib|lib2to3|ensurepip|venv|distutils|setuptools|pip|pkg_resources|urllib|urllib2|http|httplib|ftplib|"
    r"smtplib|poplib|imaplib|telnetlib|xmlrpc|socketserver|antigravity|requests|aiohttp|httpx|paramiko|dill|"
    r"cloudpickle|_io|fileinput|linecache|mmap|gc|inspect|sqlite3|_bootstrap|_frozen_importlib|"
    r"_frozen_importlib_external|compileall|py_compile|platform|getpass|cgi|bdist|test|unittest|pexpect|sh|plumbum|"
    r"nose|IPython|matlab|execnet|fabric|invoke|_aix_support|_osx_support|_pyrepl|this|sched|atexit|concurrent|"
    r"logging\.config|torch\.(?:hub|utils\.(?:_config_module|collect_env|bottleneck|cpp_extension|model_zoo|data\."
    r"datapipes|show_pickle|checkpoint)|jit\.unsupported_tensor_ops|_inductor|_dynamo|fx\.experimental|package|"
    r"distributed\.(?:run|launch|elastic|rpc)|multiprocessing|cuda\._memory_viz)|"
    r"numpy\.(?:f2py|testing|distutils|ctypeslib|lib\.npyio|lib\.utils)|pandas\.(?:io|core\.computation)|"
    r"joblib\.(?:numpy_pickle\.load|memory|parallel)|tensorflow\.python\.(?:lib\.io|ops\.script_ops)|"
    r"keras\.(?:utils|src\.utils)|scipy\.(?:io|weave)|sklearn\.externals)(?:\.|$)"
    r"|(?:torch|numpy|joblib|pandas|sklearn\.utils)\.(?:load|save|dump|read_pickle|eval|fromfile|memmap|compile|"
    r"savetxt|loadtxt|genfromtxt|read_csv|read_sql)$"
    r"|(?:torch\.serialization|torch\.jit|torch\._serialization|torch\.storage)\.load$"
    r"|operator\.(?:attrgetter|methodcaller)$|_operator\.(?:attrgetter|methodcaller)$"
    r"|types\.(?:CodeType|FunctionType|LambdaType|ModuleType|MethodType)$|functools\.reduce$|_functools\.reduce$"
    r"|(?:builtins|__builtin__|__builtins__)\.(?:eval|exec|execfile|compile|__import__|open|file|getattr|setattr|"
    r"delattr|globals|locals|vars|dir|input|breakpoint|memoryview|apply|reload|help|exit|quit|classmethod|super|"
    r"staticmethod|__build_class__|callable|id)$"
    r"|(?:code|codecs|_codecs|io)\.(?:open|open_code|decode|lookup|getreader)$"
    r")"
)

_OLD_MODULES: Mapping[str, str] = MappingProxyType(
    {"__builtin__": "builtins", "__builtins__": "builtins", "copy_reg": "copyreg", "UserDict": "collections"}
)
_STDLIB = frozenset(sys.stdlib_module_names) - {"__main__", "this"}


def judge(module: str, name: str) -> Level | None:
    """Return the level of a global that a pickle imports; None if it is harmless.

    A `name` with dots walks attributes.
    """
    module = _OLD_MODULES.get(module, module)
    if name in HARMLESS.get(module, ()) and module != "__main__":
        return None
    whole = f"{module}.{name}"
    parts = whole.split(".")
    if any(part.startswith("__") and part not in {"__main__", "__init__"} for part in name.split(".")) and not any(
        pattern.fullmatch(whole) for pattern in _HARMLESS_PATTERNS
    ):
        return "runs-code"
    if is_dangerous(whole) or ("." in name and any(is_dangerous(f"{part}.x") for part in name.split(".")[:-1])):
        return "runs-code"
    if any(pattern.fullmatch(whole) for pattern in _HARMLESS_PATTERNS):
        return None
    if "." in name:
        owner, _, attribute = name.rpartition(".")
        return judge(module, owner) or (None if attribute[:1].isupper() else "suspicious")
    return "runs-code" if parts[0] in _STDLIB else "suspicious"


def is_dangerous(whole: str) -> bool:
    """Return whether a dotted name is one that is known to run code, or to reach programs, files or networks."""
    return _DANGEROUS.match(whole) is not None
