"""What keeps a protected stack from going piece by piece."""

from typing import TypedDict

import pulumi


class GuardArgs(TypedDict):
    protected: bool
    """Refuses to be deleted, and with it all that it depends on."""


class Guard(pulumi.ComponentResource):
    """Depends on all that is to stay, and nothing depends on it.

    A destroy deletes first what nothing depends on. So it meets the guard in its first wave, and a protected guard ends
    it there, also where its preview was skipped. Without one such a destroy deletes all that has no protection of its
    own (nodes, firewall, alarms) before it comes to what has.
    """

    def __init__(self, name: str, args: GuardArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        protection = pulumi.ResourceOptions(protect=args["protected"])
        super().__init__("penstock:index:Guard", name, None, pulumi.ResourceOptions.merge(opts, protection))
        self.register_outputs({})
