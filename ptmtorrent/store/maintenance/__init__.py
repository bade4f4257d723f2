"""Engines that verify and repair packs."""
