"""Signed, content-addressed, compressed copies of pre-trained model packages.

A release is a signed Merkle tree over content-addressed, tensor-aware, compressed packs; a channel is a plain
directory that any static file server, torrent or Globus collection can carry.
"""

__version__ = "0.1.0"

__all__ = ["__version__"]
