"""Kaggle Models as a hub: `adapter` sends the requests, `records` parses the answers without I/O.

A variation (`owner/model/framework/variation`) is a package and its version number is the commit. Hashes come from the
download address of each file, so every file is requested twice (ADR 0025). `tfhub/` uses this adapter for the bytes of
packages that moved here.
"""
