"""The same program on one machine: toolchain, supervisor, embedded AWS, a kubelet that runs processes."""
