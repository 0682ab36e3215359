"""What a preview can say of a change: the API server's own opinion by a dry run where it can be asked."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from infra.local.kubernetes.provider.discovery import NoSuchKindError
from infra.local.kubernetes.provider.errors import ApiError, ProviderError, RefusedError
from infra.local.kubernetes.provider.kinds import Kind
from infra.local.kubernetes.provider.objects import Objects
from infra.local.kubernetes.provider.outputs import changed, foreseen
from infra.local.kubernetes.provider.values import has_unknown


@dataclass
class Preview:
    """Asks the cluster until it fails to answer once; then, and without a cluster (None), previews go on alone."""

    objects: Objects | None
    unreachable: bool = False

    def create(self, kind: Kind, inputs: Mapping[str, Any], warn: Callable[[str], None]) -> dict[str, Any]:
        """Raises RefusedError where the object is not valid."""
        return foreseen(kind, inputs, self._try_out(kind, inputs, warn, new=True))

    def update(
        self, kind: Kind, inputs: Mapping[str, Any], warn: Callable[[str], None], ignored: Sequence[str] = ()
    ) -> dict[str, Any]:
        """Raises RefusedError where the change is not valid, or conflicts with another manager's fields."""
        tried = self._try_out(kind, inputs, warn, ignored, new=False)
        return foreseen(kind, inputs) if tried is None else changed(kind, tried, inputs)

    def _try_out(
        self,
        kind: Kind,
        inputs: Mapping[str, Any],
        warn: Callable[[str], None],
        ignored: Sequence[str] = (),
        *,
        new: bool,
    ) -> dict[str, Any] | None:
        """None where the cluster cannot tell yet."""
        if self.objects is None or self.unreachable or has_unknown(inputs):
            return None
        try:
            return self.objects.try_out(kind, inputs, ignored)
        except NoSuchKindError:
            return None
        except RefusedError as error:
            if not _certain(error.error, new=new):
                return None
            if kind.built_in:
                raise
            # The definition itself may be about to change in this very update.
            warn(f"the cluster as it is now would refuse this: {error}")
            return None
        except ProviderError:
            self.unreachable = True
            return None


def _certain(error: ApiError, *, new: bool) -> bool:
    """Whether the refusal will stand.

    A missing namespace or permission may come with this update; an object that is to be replaced is still there.
    """
    if error.code in (400, 422) or error.malformed:
        return not error.immutable
    return error.code == 409 and not new
