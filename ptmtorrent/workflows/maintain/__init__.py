"""Care of the store: what it holds and why it is small, whether it is whole, mending it, letting go of what is dead."""
