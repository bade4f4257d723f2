"""The sample hub, the packages it serves, and the demo run."""
