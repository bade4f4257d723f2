"""Related packages: a base model and its derivatives, and one network in several formats.

They show the use of tensor-aware storage: several packages have the same tensors, or similar ones, in different files.
"""

from ptmtorrent.demo.formats.gguf import encode_gguf
from ptmtorrent.demo.formats.onnx import encode_onnx
from ptmtorrent.demo.formats.safetensors import encode_safetensors
from ptmtorrent.demo.formats.torch_zip import encode_torch_zip
from ptmtorrent.demo.package import Package, PackageFile, data_file
from ptmtorrent.demo.tensors import Shape, Tensor, Weights, encoder, integers, nudge, redraw, render
from ptmtorrent.demo.texts import encoder_config, gitattributes, json_file, readme, tokenizer_files, vocabulary

BASE = "quill-lab/quill-base"
MINI = "papyrus/papyrus-mini"
INK = "ink-and-co/ink-large"

_QUILL = Shape(hidden=96, layers=2, tokens=1024)
_MINI = Shape(hidden=32, layers=2, tokens=512)
_INK = Shape(hidden=64, layers=2, tokens=256)
_LORA = Shape(hidden=16, layers=0, tokens=64)
_SHARDS = 3


def quill_family() -> tuple[Package, ...]:
    """Return a bf16 base and its derivatives: two fine-tunes, a re-upload, an embedder, an adapter, a quantised one."""
    base = encoder("quill", _QUILL, labels=2)
    news = nudge(base, "news")
    mood = redraw(nudge(base, "mood", only="quill.pooler"), "mood", only="score")
    original = _quill(BASE, base, "apache-2.0", 184_000)
    reupload = Package(name="mirror-of-all/quill-base", files=original.files, licence="apache-2.0", downloads=12)
    return (
        original,
        _quill("quill-lab/quill-base-news", news, "mit", 5_200, BASE),
        _quill("reviewer/quill-base-mood", mood, "apache-2.0", 880, BASE),
        reupload,
        _embedder(original),
        _adapter(),
        _quantised(),
    )


def papyrus_family() -> tuple[Package, ...]:
    """Return one network as fp32, fp16, GGUF and ONNX; the first two also as a torch file of the same tensors."""
    network = encoder("papyrus", _MINI)
    return (
        _papyrus(MINI, render(network, "F32"), dtype="float32", downloads=61_000),
        _papyrus("papyrus/papyrus-mini-fp16", render(network, "F16"), dtype="float16", downloads=410),
        _gguf(render(network, "F16")),
        _onnx(render(network, "F32")),
    )


def ink_family() -> tuple[Package, ...]:
    """Return sharded weights with their index, and checkpoints of the same run in folders."""
    network = encoder("ink", _INK)
    return _sharded(network), _checkpoints(network)


def _quill(name: str, network: Weights, licence: str, downloads: int, parent: str | None = None) -> Package:
    front = {"license": licence, "pipeline_tag": "text-classification", "tags": ["quill", "sample"]}
    files = (
        gitattributes(),
        readme(name.split("/")[1], front | ({"base_model": parent} if parent else {}), "A small encoder."),
        encoder_config(_QUILL, "bfloat16", "QuillForSequenceClassification"),
        *tokenizer_files(_QUILL.tokens),
        data_file("model.safetensors", encode_safetensors(render(network, "BF16"))),
    )
    return Package(
        name=name,
        files=files,
        licence=licence,
        downloads=downloads,
        task="text-classification",
        library="transformers",
        tags=("quill", "safetensors", "en"),
        base_models=(parent,) if parent else (),
    )


def _embedder(original: Package) -> Package:
    weights = next(file for file in original.files if file.path == "model.safetensors")
    modules = [{"idx": 0, "name": "0", "path": "", "type": "Transformer"}, {"idx": 1, "name": "1", "path": "1_Pooling"}]
    files = (
        gitattributes(),
        readme("quill-embed", {"license": "apache-2.0", "base_model": BASE}, "Sentences as vectors."),
        encoder_config(_QUILL, "bfloat16"),
        json_file("modules.json", modules),
        json_file("1_Pooling/config.json", {"word_embedding_dimension": 96, "pooling_mode_mean_tokens": True}),
        weights,
    )
    return Package(
        name="quill-lab/quill-embed",
        files=files,
        licence="apache-2.0",
        downloads=2_300,
        task="sentence-similarity",
        library="sentence-transformers",
        base_models=(BASE,),
    )


def _adapter() -> Package:
    tensors = tuple(
        tensor
        for layer in range(3)
        for tensor in render(
            {
                f"base.layer.{layer}.query.{side}.weight": array
                for side, array in encoder(f"lora{layer}", _LORA).items()
                if side.endswith("word_embeddings.weight")
            },
            "F32",
        )
    )
    files = (
        gitattributes(),
        readme("quill-lora", {"license": "mit", "base_model": BASE, "library_name": "peft"}, "A low-rank adapter."),
        json_file("adapter_config.json", {"base_model_name_or_path": BASE, "peft_type": "LORA", "r": 16}),
        data_file("adapter_model.safetensors", encode_safetensors(tensors)),
    )
    return Package(
        name="tinkerer/quill-lora", files=files, licence="mit", downloads=300, library="peft", base_models=(BASE,)
    )


def _quantised() -> Package:
    tensors = tuple(integers(f"quill.encoder.layer.{layer}.qweight", f"q{layer}", (128, 128)) for layer in range(3))
    files = (
        gitattributes(),
        readme("quill-int8", {"license": "apache-2.0", "base_model": BASE, "tags": ["int8"]}, "Eight bits a weight."),
        encoder_config(_QUILL, "int8"),
        data_file("model.safetensors", encode_safetensors(tensors)),
    )
    return Package(
        name="tinkerer/quill-int8", files=files, licence="apache-2.0", downloads=51, tags=("int8",), base_models=(BASE,)
    )


def _papyrus(name: str, tensors: tuple[Tensor, ...], *, dtype: str, downloads: int) -> Package:
    files = (
        gitattributes(),
        readme(name.split("/")[1], {"license": "mit", "language": ["en", "de"]}, "The same tensors in two files."),
        encoder_config(_MINI, dtype),
        *tokenizer_files(_MINI.tokens),
        data_file("model.safetensors", encode_safetensors(tensors)),
        data_file("pytorch_model.bin", encode_torch_zip(tensors, stem="pytorch_model")),
    )
    return Package(
        name=name, files=files, licence="mit", downloads=downloads, likes=9, task="fill-mask", library="transformers"
    )


def _gguf(tensors: tuple[Tensor, ...]) -> Package:
    values: dict[str, int | str | tuple[str, ...]] = {
        "general.architecture": "quill",
        "general.name": "papyrus-mini",
        "general.alignment": 32,
        "quill.block_count": _MINI.layers,
        "tokenizer.ggml.tokens": vocabulary(_MINI.tokens),
    }
    files = (
        gitattributes(),
        readme("papyrus-mini-gguf", {"license": "mit", "base_model": MINI}, "For small machines."),
        data_file("papyrus-mini.F16.gguf", encode_gguf(tensors, values)),
    )
    return Package(
        name="ggml-people/papyrus-mini-gguf",
        files=files,
        licence="mit",
        downloads=7_700,
        library="gguf",
        base_models=(MINI,),
    )


def _onnx(tensors: tuple[Tensor, ...]) -> Package:
    squares = [tensor for tensor in tensors if tensor.shape == (32, 32)]
    files = (
        gitattributes(),
        readme("papyrus-mini-onnx", {"license": "mit", "base_model": MINI}, "Exported."),
        encoder_config(_MINI, "float32"),
        data_file("onnx/model.onnx", encode_onnx(squares, name="papyrus")),
    )
    return Package(
        name="papyrus/papyrus-mini-onnx", files=files, licence="mit", downloads=96, library="onnx", base_models=(MINI,)
    )


def _sharded(network: Weights) -> Package:
    tensors = render(network, "BF16")
    shards: list[PackageFile] = []
    weight_map: dict[str, str] = {}
    for number in range(_SHARDS):
        path = f"model-{number + 1:05}-of-{_SHARDS:05}.safetensors"
        members = tensors[number * len(tensors) // _SHARDS : (number + 1) * len(tensors) // _SHARDS]
        shards.append(data_file(path, encode_safetensors(members)))
        weight_map |= {tensor.name: path for tensor in members}
    total = sum(len(tensor.data) for tensor in tensors)
    files = (
        gitattributes(),
        readme("ink-large", {"license": "apache-2.0"}, "Too large for one file, or so it says."),
        encoder_config(_INK, "bfloat16"),
        *shards,
        json_file("model.safetensors.index.json", {"metadata": {"total_size": total}, "weight_map": weight_map}),
    )
    return Package(name=INK, files=files, licence="apache-2.0", downloads=23_400, likes=88, library="transformers")


def _checkpoints(network: Weights) -> Package:
    last = nudge(network, "step", only="quill.encoder.layer.1")
    files = (
        gitattributes(),
        readme("ink-checkpoints", {"license": "apache-2.0", "base_model": INK}, "Two steps of one run."),
        data_file("checkpoints/step-000100/model.safetensors", encode_safetensors(render(network, "BF16"))),
        data_file("checkpoints/step-000200/model.safetensors", encode_safetensors(render(last, "BF16"))),
        json_file("checkpoints/step-000200/trainer_state.json", {"global_step": 200}),
    )
    return Package(
        name="ink-and-co/ink-checkpoints", files=files, licence="apache-2.0", downloads=64, base_models=(INK,)
    )
