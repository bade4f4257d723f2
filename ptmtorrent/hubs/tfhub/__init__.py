"""TensorFlow Hub as a hub."""
