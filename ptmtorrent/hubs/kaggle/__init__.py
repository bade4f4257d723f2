"""Kaggle Models as a hub."""
