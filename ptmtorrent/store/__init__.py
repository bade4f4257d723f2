"""Packs, index, codecs and cutters: where objects live."""
