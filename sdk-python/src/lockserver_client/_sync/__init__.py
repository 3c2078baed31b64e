# Generated from src/lockserver_client/_async/__init__.py by tools/generate.py; change that one.
"""The sync flavour."""
