"""The async flavour, written by hand. `tools/generate.py` makes `_sync` from it."""
