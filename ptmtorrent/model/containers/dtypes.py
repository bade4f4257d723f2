"""Sizes of dtypes: bits per number by safetensors' names, bytes per block by ggml's names."""

from collections.abc import Mapping
from types import MappingProxyType

BITS: Mapping[str, int] = MappingProxyType(
    {
        **dict.fromkeys(("F4",), 4),
        **dict.fromkeys(("F6_E2M3", "F6_E3M2"), 6),
        **dict.fromkeys(("BOOL", "U8", "I8", "F8_E5M2", "F8_E4M3", "F8_E8M0", "F8_E4M3FNUZ", "F8_E5M2FNUZ"), 8),
        **dict.fromkeys(("U16", "I16", "F16", "BF16"), 16),
        **dict.fromkeys(("U32", "I32", "F32"), 32),
        **dict.fromkeys(("U64", "I64", "F64", "C64"), 64),
    }
)

BLOCK_BYTES: Mapping[str, int] = MappingProxyType(
    {
        "Q4_0": 18,
        "Q4_1": 20,
        "Q5_0": 22,
        "Q5_1": 24,
        "Q8_0": 34,
        "Q8_1": 36,
        "Q2_K": 84,
        "Q3_K": 110,
        "Q4_K": 144,
        "Q5_K": 176,
        "Q6_K": 210,
        "Q8_K": 292,
        "IQ1_M": 56,
        "IQ1_S": 50,
        "IQ2_S": 82,
        "IQ2_XS": 74,
        "IQ2_XXS": 66,
        "IQ3_S": 110,
        "IQ3_XXS": 98,
        "IQ4_NL": 18,
        "IQ4_XS": 136,
        "TQ1_0": 54,
        "TQ2_0": 66,
        "MXFP4": 17,
        "NVFP4": 36,
    }
)

NUMPY_NAMES: Mapping[str, str] = MappingProxyType(
    {
        "bool": "BOOL",
        "int8": "I8",
        "uint8": "U8",
        "int16": "I16",
        "uint16": "U16",
        "int32": "I32",
        "uint32": "U32",
        "int64": "I64",
        "uint64": "U64",
        "float16": "F16",
        "bfloat16": "BF16",
        "float32": "F32",
        "float64": "F64",
        "complex64": "C64",
        "float8_e4m3fn": "F8_E4M3",
        "float8_e5m2": "F8_E5M2",
        "float8_e4m3fnuz": "F8_E4M3FNUZ",
        "float8_e5m2fnuz": "F8_E5M2FNUZ",
        "float8_e8m0fnu": "F8_E8M0",
    }
)
"""safetensors' names by those of numpy and ml_dtypes; others have none."""
