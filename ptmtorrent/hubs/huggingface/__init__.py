"""Hugging Face as a hub."""
