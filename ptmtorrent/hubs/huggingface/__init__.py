"""Hugging Face as a hub.

`adapter` sends the requests and implements the port; `records` parses listings, descriptions and trees without I/O;
`discussions` reads what `--with discussions` keeps; `xet` downloads files from Xet storage and is the only module that
imports `hf_xet`.

Invariants: credentials are sent to the configured endpoint only, and no odd record stops a listing.
"""
