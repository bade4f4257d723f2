"""Packs by BitTorrent."""
