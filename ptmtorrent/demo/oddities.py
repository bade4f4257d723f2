"""Packages with one unusual property each, all found on real hubs: names, licences, access, counts, no content."""

from ptmtorrent.demo.formats.safetensors import encode_safetensors
from ptmtorrent.demo.formats.torch_zip import encode_torch_zip
from ptmtorrent.demo.package import Package, data_file, text_file
from ptmtorrent.demo.tensors import Shape, Tensor, encoder, render
from ptmtorrent.demo.texts import gitattributes, json_file, readme


def odd_packages() -> tuple[Package, ...]:
    """Return the unusual packages, in any order."""
    return (
        _case_study(),
        _world_names(),
        _placeholder(),
        _gated(),
        _uncounted(),
        _not_commercial(),
        _diffusion(),
        _remote_code(),
        _card_only(),
        _unlicensed(),
        _long_names(),
    )


def _tensors(seed: str, dtype: str, *, hidden: int = 16) -> tuple[Tensor, ...]:
    return render(encoder(seed, Shape(hidden=hidden, layers=1, tokens=128)), dtype)


def _case_study() -> Package:
    files = (
        gitattributes(),
        readme("Case study", {"license": "mit"}, "Names that differ in case alone."),
        readme("case study", {"license": "mit"}, "The other one.", path="readme.md"),
        text_file("Model.py", "class Model:\n    size = 'L'\n"),
        text_file("model.py", "class Model:\n    size = 's'\n"),
        data_file("model.safetensors", encode_safetensors(_tensors("case", "F32"))),
    )
    return Package(name="Case-Lab/case-study", files=files, licence="mit", downloads=140)


def _world_names() -> Package:
    weights = encode_safetensors(_tensors("world", "BF16"))
    files = (
        gitattributes(),
        readme("World names", {"license": "apache-2.0", "language": ["zh", "ja", "de"]}, "Names from everywhere."),
        text_file("使用说明.md", "# 使用说明\n\n一个很小的模型。\n"),
        text_file("サンプル/設定 ファイル.json", '{"大きさ": "小"}\n'),
        text_file("notes 🤗 & more (final).txt", "Spaces, an ampersand, brackets and a face.\n"),
        text_file("größe+100%.txt", "1 m\n"),
        text_file("a#b?c=d;e.txt", "What URLs are made of.\n"),
        data_file("权重/模型.safetensors", weights),
    )
    return Package(name="world/names", files=files, licence="apache-2.0", downloads=1_050, tags=("zh", "ja"))


def _placeholder() -> Package:
    files = (gitattributes(), text_file("coming_soon.txt", ""))
    return Package(name="newcomer/placeholder", files=files, downloads=0)


def _gated() -> Package:
    front = {
        "license": "other",
        "license_name": "llama3",
        "license_link": "LICENSE",
        "extra_gated_prompt": "Sign here.",
    }
    files = (
        gitattributes(),
        readme("Guarded", front, "Ask first."),
        text_file("LICENSE", "COMMUNITY LICENSE AGREEMENT (a sample of one)\n"),
        data_file("model.safetensors", encode_safetensors(_tensors("guarded", "BF16", hidden=32))),
    )
    return Package(name="guarded/herd-8k", files=files, access="gated", licence="other", downloads=90_000, likes=4_100)


def _uncounted() -> Package:
    files = (
        gitattributes(),
        readme("Legacy embeddings", {"license": "bsd-3-clause"}, "From before anyone counted."),
        data_file("pytorch_model.bin", encode_torch_zip(_tensors("legacy", "F32"), stem="archive")),
    )
    return Package(name="attic/legacy-embeddings", files=files, licence="bsd-3-clause")


def _not_commercial() -> Package:
    files = (
        gitattributes(),
        readme("Speech tiny", {"license": "cc-by-nc-4.0", "language": "en"}, "Exactly fifty downloads: not popular."),
        json_file("preprocessor_config.json", {"feature_size": 80, "sampling_rate": 16000}),
        data_file("model.safetensors", encode_safetensors(_tensors("speech", "F16"))),
    )
    return Package(
        name="acoustics/speech-tiny",
        files=files,
        licence="cc-by-nc-4.0",
        downloads=50,
        task="automatic-speech-recognition",
    )


def _diffusion() -> Package:
    parts = ("text_encoder", "unet", "vae")
    files = (
        gitattributes(),
        readme("Tiny diffusion", {"license": "creativeml-openrail-m"}, "A pipeline of folders."),
        json_file("model_index.json", {"_class_name": "TinyPipeline", **{part: ["tiny", part] for part in parts}}),
        *(json_file(f"{part}/config.json", {"_class_name": part}) for part in parts),
        *(
            data_file(
                f"{part}/diffusion_pytorch_model.safetensors", encode_safetensors(_tensors(part, "F16", hidden=32))
            )
            for part in parts
        ),
    )
    return Package(
        name="painter/tiny-diffusion",
        files=files,
        licence="creativeml-openrail-m",
        downloads=3_900,
        task="text-to-image",
        library="diffusers",
    )


def _remote_code() -> Package:
    files = (
        gitattributes(),
        readme("Quill coder", {"license": "apache-2.0", "tags": ["custom_code"]}, "Brings its own code."),
        json_file("config.json", {"auto_map": {"AutoModel": "modeling_quill.QuillCoder"}, "model_type": "quill-coder"}),
        text_file("modeling_quill.py", 'raise ImportError("this file must never be imported")\n'),
        data_file("model.safetensors", encode_safetensors(_tensors("coder", "F64"))),
    )
    return Package(name="coder/quill-coder", files=files, licence="apache-2.0", downloads=720, tags=("custom_code",))


def _card_only() -> Package:
    files = (gitattributes(), readme("A plan", {"license": "cc0-1.0"}, "Weights will follow."))
    return Package(name="dreamer/a-plan", files=files, licence="cc0-1.0", downloads=75)


def _unlicensed() -> Package:
    files = (
        text_file("README.md", "No front matter, no licence.\n"),
        data_file("model.safetensors", encode_safetensors(_tensors("bare", "F32"))),
    )
    return Package(name="bare/no-licence", files=files, downloads=230)


def _long_names() -> Package:
    folder = "/".join(f"level-{depth}" for depth in range(12))
    files = (
        gitattributes(),
        readme("Deep and long", {"license": "mit"}, "A name of 204 characters, and twelve folders."),
        text_file("n" * 200 + ".txt", "long\n"),
        text_file(f"{folder}/bottom.txt", "deep\n"),
    )
    return Package(name="archive/deep-and-long", files=files, licence="mit", downloads=5)
