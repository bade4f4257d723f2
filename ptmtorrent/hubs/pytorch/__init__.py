"""PyTorch Hub as a hub: `adapter` lists the cards, `cards` parses them, `entry_points` finds the weights they load.

It is one of the catalogues over git remotes (`hubs/catalogues.py`). One card is one package (ADR 0023). Invariant: code
in a package is parsed to a syntax tree and never run.
"""
