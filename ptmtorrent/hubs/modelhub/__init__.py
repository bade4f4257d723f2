"""Modelhub.ai as a hub."""
