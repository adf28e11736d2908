"""A run: a folder, a resolved configuration, a task, loaders and the loop."""
