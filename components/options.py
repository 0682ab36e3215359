"""Resource options that several components share."""

import pulumi


def stateful(parent: pulumi.Resource, protected: bool) -> pulumi.ResourceOptions:
    """For a resource whose loss loses data: in a protected stack neither a delete nor a destroy takes it away."""
    return pulumi.ResourceOptions(parent=parent, protect=protected, retain_on_delete=protected)


def child_of(parent: pulumi.Resource, opts: pulumi.ResourceOptions | None) -> pulumi.ResourceOptions:
    """For a component that may be told to wait: its children wait themselves.

    Pulumi makes children later than what their parent waits for, but notes no dependency: a destroy would not keep the
    order.
    """
    return pulumi.ResourceOptions(parent=parent, depends_on=opts.depends_on if opts else None)


def numbered(name: str, number: int) -> str:
    """The logical name of what is made anew when its number is raised: the new one comes before the old one goes."""
    return name if number == 1 else f"{name}-{number}"
