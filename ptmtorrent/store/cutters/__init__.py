"""How a file is split into objects, so that equal tensors become equal objects."""
