"""Resource options that several components share."""

import pulumi


def stateful(parent: pulumi.Resource, protected: bool) -> pulumi.ResourceOptions:
    """For a resource whose loss loses data: in a protected stack neither a delete nor a destroy takes it away."""
    return pulumi.ResourceOptions(parent=parent, protect=protected, retain_on_delete=protected)
