"""PyTorch Hub as a hub."""
