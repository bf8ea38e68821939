"""What `tools/fuzz/run.py` is made of: a harness for each reader of untrusted files, a mutator, a worker."""
