"""The node agent of the local target: Node objects from EKS node groups, pods as processes, target groups."""
