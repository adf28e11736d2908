"""Benchmark and source facts, as TOML files; read with `importlib.resources`."""
