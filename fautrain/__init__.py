"""Training on the shards that `facecorpus` builds. Of `facecorpus` it imports only `facecorpus.schema`."""
