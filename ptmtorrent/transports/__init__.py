"""Ways to move packs (local, http, torrent) and their composition."""
