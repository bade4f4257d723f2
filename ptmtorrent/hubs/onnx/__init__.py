"""The ONNX Model Zoo as a hub: `adapter` serves packages from one bare clone, `records` parses folders and manifest.

A package is a folder of the zoo's git remote that holds LFS files (ADR 0019). Weights come from LFS or from a mirror;
their SHA-256 is the one that the commit names, wherever they come from.
"""
