"""Bringing index and packs together again."""
