"""Sources of faces, one module per data set (see `base` for how to add one)."""
