"""The binaries that no Python package carries: Pulumi, etcd and the Kubernetes control plane."""
