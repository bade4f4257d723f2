"""The hashes of the sets, over sorted names and the BLAKE3 of files. Other hashes mean other bytes.

Made with numpy 2.4; any numpy whose `Generator(PCG64)` draws the same numbers makes the same.
"""

MINILM = "ed261974cc655a24f31989483227fad35004a8b21d075da3bd39852ef797f83b"

FROZEN: dict[str, dict[str, str]] = {
    "full": {
        "MiniLM": MINILM,
        "siblings": "720458802467f2b67f6f871fd41affe7b46fb67a144bee56f78080c50c490a9f",
        "bf16": "17dcd725bb713b14f5c7347ea7947a020105c4f2181b839fbd8dd3bcee4adbfa",
        "fp16": "2e77005d9feab3d2daf4fd44f075c6ea984d4ab076b1eb9022be384b7403293d",
        "fp32": "8d001f87695385effd0e1aa1bbb134ad0abe5aa92c16f6470af955bba1410c63",
        "upcast": "cf8349a09ddde60a7475221574ac09ae5d1af6432e347f2f6b11c6a53c644aae",
        "int8": "ce3e044f1433ae35e069f578235a73925fb2da33049f9fc2798ad026e751a412",
        "heavy fine-tune alone": "7d5cadbfa6f2a8205c4d49681366fa8d2030a85da0c411ca0b3d3c82317147f0",
        "fp32 + .bin twin": "1811395b33c99e961d447952b4ffd8b2bf8c43870ea2aca2ace21ec659cb5e0e",
        "base + heavy fine-tune": "1ef5f642d7aafe6f40699dc0927fd00d0e9bf410aa99cf00d46907a1062c75a5",
        "big": "fbdff6bd164dde2e25c189e8ddb4f1128cc3703e4d2902fada81f5e094634adb",
        "revisions": "57641106535fb393fc55654cdbac9334fec6292149652a99cb50ce1f66e2262c",
    },
    "quick": {
        "MiniLM": MINILM,
        "siblings": "d21ef4b48bb230b3f8c6d27fd386fee54368835dd9fac35664f2a28c11372e8f",
        "bf16": "193fad78e8bc8201d77da91f44487c969a60915fbdbcfbf21b05b36ca0a90781",
        "fp16": "697c83ffd4835860bdbbeb14038677365d49c5e3cf201a4bf6fffd1ad4a7d0e1",
        "fp32": "91e15e338c8e360ff856d89e37e4cc4d34f1626232fc3b4db9c590a7a129d571",
        "upcast": "61aac87bc3eaf7fcf90c164ca09374980a3709a49a2715e358c903e51f4707d0",
        "int8": "58dde46d82673c9d6133bf5465419a81b85e0d3b9fd795ee8f0d36040af056b4",
        "heavy fine-tune alone": "ea209ae0d602d82b7df75f1434dc6032bf4772b0ec5cf32a052f3697ef376e17",
        "fp32 + .bin twin": "efe9a458431912374f2594de6e3af95f7109f8120b6080fc03f4ad5f806e0a30",
        "base + heavy fine-tune": "3e0ebfd081c414f68553e88c7ea50e4b9f587323d22cb6feb3b44103a5c8d0b4",
        "big": "0e370616b2839e74d034994dc80c06c68ad26b2342acb6c12c4b55fdeb6f873e",
        "revisions": "e53fdfdb4e22b28422013901b6853f414db2edf434929ae0c15acc0f4cdd8466",
    },
    "tiny": {
        "MiniLM": MINILM,
        "siblings": "7441dd146afd3ed90f1bc44fefc89ed8bf1b5f774c0fe2e9f9ae2079abfa4ab1",
        "bf16": "eb8e9573296bd0083586de090d48eb810facb19a15debbd930aef090ae96b55b",
        "fp16": "bef78aaaa902338dd1015476583af2e07a23e8c7765511faa3333184fb988f59",
        "fp32": "9c123c1bc8aac07789a67bbc794494daaccac43aa26fec24484c40e99c1051f0",
        "upcast": "63d581c52616af84a71992a9a7b94961c77819b4d5445beafeef24cceeef3978",
        "int8": "c87eaec5d5597aaa400bc8f8bcd0af568a4f661598844658f7f4058269b27307",
        "heavy fine-tune alone": "d51000a638a3147edab5739020c5b6e12fca0c5952d8ea16555ffd6063447faf",
        "fp32 + .bin twin": "1414a7fa57f9465c2ebe98e8e96cd0ea4eb2707ef9270784a933ed375813fd90",
        "base + heavy fine-tune": "5511b7c2845aff308dc80c1a88c6c6724c9699d311557324789f5b1bcc404cd3",
        "big": "8455530dbb6eddabcce7948a9e7c9d6a370f0651b00868a3d702bcea49cd627e",
        "revisions": "5db2d1bee63520650b24c58cf1944fd66ae8451f7f48f3a43ab6e3dd52f9990a",
    },
}
