"""Kirsh beside those a user might take instead, in turns. `benches/README.md` says how and what."""
