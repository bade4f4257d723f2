"""The channel: the port its readers share, where its files lie, and the readers of folders and servers."""
