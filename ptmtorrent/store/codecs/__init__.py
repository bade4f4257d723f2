"""How an object's bytes are stored: one byte, frozen for ever."""
