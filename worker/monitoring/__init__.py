"""Watching over processes: their health, and the children that died."""
