"""The registry of model versions: manifests, evaluation records and pointers in the weights bucket."""
