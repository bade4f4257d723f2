"""Writers of the checkpoint formats the sample packages come in. Written by hand: nothing here imports a framework."""
