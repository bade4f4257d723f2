"""Writers of the checkpoint formats of the sample packages, one per module, implemented without any framework."""
