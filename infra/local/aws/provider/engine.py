"""The life cycle of any resource, driven by its row: check, diff, create, read, update, delete."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from infra.local.aws.provider.check import DEFAULTS, Failure, Request, check
from infra.local.aws.provider.clients import Clients
from infra.local.aws.provider.compare import Difference, agrees, askable, differences, merged, observed
from infra.local.aws.provider.row import BUSY, GONE, NotDoneError, Row, Scope
from infra.local.aws.provider.schema import Kind, Property, complete, from_api
from infra.local.aws.provider.values import UNKNOWN, Secret, Values, contains, revealed

BUSY_SECONDS = 60.0
"""How long a deletion waits for others to let go of the resource."""

_GENERIC = frozenset({"tags", "tagsAll", "region"})


class HalfDoneError(RuntimeError):
    """The resource exists, but something after its creation failed."""

    def __init__(self, resource_id: str, state: Values, inputs: Values, reason: str) -> None:
        super().__init__(reason)
        self.resource_id, self.state, self.inputs, self.reason = resource_id, state, inputs, reason


@dataclass(frozen=True)
class Diff:
    entries: tuple[Difference, ...]
    replaces: tuple[str, ...]
    delete_before_replace: bool
    stables: tuple[str, ...]


@dataclass
class Engine:
    """One configured provider. `account` is the id that STS reports."""

    clients: Clients
    region: str
    account: str
    default_tags: Mapping[str, str] = field(default_factory=dict)
    cancelled: threading.Event = field(default_factory=threading.Event)

    def scope(self, row: Row, region: Any = None) -> Scope:
        return Scope(row, self.clients, region or self.region, self.account, self.cancelled)

    def check(self, request: Request) -> tuple[Values, list[Failure]]:
        return check(request)

    def diff(self, row: Row, old_inputs: Values, state: Values, news: Values) -> Diff:
        old, new, known = revealed(old_inputs), revealed(news), revealed(state)
        entries = [entry for entry in differences(row.fields, old, new, known) if entry.path != "region"]
        if row.regional and known.get("region") and new.get("region", self.region) != known["region"]:
            entries.append(Difference("region", "update" if "region" in new else "delete", replace=True))
        replaces = tuple(entry.path for entry in entries if entry.replace)
        stables = tuple(name for name, prop in row.fields.items() if prop.replace or name == "arn")
        collides = row.delete_before_replace or _keeps_name(row, old, new)
        return Diff(tuple(entries), replaces, bool(replaces) and collides, ("id", *stables))

    def create(self, row: Row, inputs: Values, *, preview: bool) -> tuple[str, Values]:
        """Makes the resource; returns its id and state. Raises HalfDoneError, NotDoneError, botocore's errors."""
        if preview:
            return "", self.planned(row, inputs, None)
        given = revealed(inputs)
        scope = self.scope(row, given.get("region"))
        values = complete(row.fields, given)
        resource_id = row.create(scope, values)
        try:
            if row.settle is not None:
                row.settle(scope, resource_id, values)
            live = self.look(scope, resource_id, values)
            if live is None:
                raise NotDoneError(f"{resource_id} was created, but AWS does not list it")
        except Exception as error:
            state = _wrapped(row, inputs, {**values, "region": scope.region} if row.regional else values)
            raise HalfDoneError(resource_id, state, inputs, explain(error)) from error
        return resource_id, self.state(row, inputs, live)

    def read(self, row: Row, resource_id: str, inputs: Values, state: Values) -> tuple[str, Values, Values]:
        """The id, state and inputs as AWS has them now; the id is empty when the resource is gone."""
        known, given = revealed(state), revealed(inputs)
        scope = self.scope(row, known.get("region") or given.get("region"))
        live = self.look(scope, resource_id, {**given, **known})
        if live is None:
            return "", {}, {}
        resource_id = live.pop("id", resource_id)
        carried = {name: state[name] for name, prop in row.fields.items() if prop.write_only and name in state}
        seen = self.seen_inputs(row, inputs, live, importing=not given)
        return resource_id, {**self.state(row, {**carried, **seen}, live)}, seen

    def seen_inputs(self, row: Row, inputs: Values, live: Values, *, importing: bool) -> Values:
        """The inputs with what has drifted in AWS. Untouched inputs keep their form and their Secret wrapper."""
        given = revealed(inputs)
        seen: Values = {name: inputs[name] for name in (DEFAULTS,) if name in inputs}
        for name, prop in row.fields.items():
            if prop.output:
                continue
            if given.get(name) is not None:
                kept = agrees(prop, given[name], live.get(name))
                value = inputs[name] if kept else observed(prop, given[name], live.get(name))
            elif prop.write_only or (prop.computed and not importing):
                continue
            else:
                value = askable(prop, live.get(name))
            if value is not None and not (importing and value is False):
                secret = contains(inputs.get(name), Secret) and not contains(value, Secret)
                seen[name] = Secret(value) if secret else value
        if importing and seen.get("region") == self.region:
            del seen["region"]
        return seen

    def update(
        self, row: Row, resource_id: str, old_inputs: Values, state: Values, news: Values, *, preview: bool
    ) -> Values:
        old, new, known = revealed(old_inputs), revealed(news), revealed(state)
        changed = {_top(entry.path) for entry in differences(row.fields, old, new, known)} - _GENERIC
        if preview:
            causes = row.renewed.items() if changed else ()
            renewed = {name for name, inputs in causes if not inputs or changed & set(inputs)}
            return self.planned(row, news, {**state, **dict.fromkeys(renewed, UNKNOWN)})
        scope = self.scope(row, known.get("region"))
        live = self.look(scope, resource_id, known)
        if live is None:
            raise NotDoneError(f"{resource_id} no longer exists in AWS: run `pulumi refresh`")
        values = complete(row.fields, new)
        # What differs from AWS counts as changed too: the way out of an update that stopped half way.
        changed |= {
            name
            for name, value in values.items()
            if name not in _GENERIC and name in live and not agrees(row.fields[name], value, live[name])
        }
        if changed and row.update is not None:
            row.update(scope, resource_id, values, frozenset(changed))
        if row.tagging is not None and live["tagsAll"] != values.get("tagsAll", {}):
            subject = live["arn"] if row.tagging.arn else resource_id
            row.tagging.change(scope.api, subject, live["tagsAll"], values.get("tagsAll", {}))
        live = self.look(scope, resource_id, {**known, **values})
        if live is None:
            raise NotDoneError(f"{resource_id} vanished during its update")
        return self.state(row, news, live)

    def delete(self, row: Row, resource_id: str, state: Values) -> None:
        """Deletes the resource; one that is gone is fine. Waits up to BUSY_SECONDS for what still uses it."""
        from botocore.exceptions import ClientError

        known = revealed(state)
        scope = self.scope(row, known.get("region"))
        deadline = time.monotonic() + BUSY_SECONDS
        while True:
            try:
                return row.delete(scope, resource_id, complete(row.fields, known))
            except ClientError as error:
                code = error.response["Error"]["Code"]
                # "Not found" may speak of another object, so the resource itself is looked at.
                if GONE.search(code) and self.look(scope, resource_id, known) is None:
                    return None
                if not BUSY.search(code) or time.monotonic() > deadline or self.cancelled.wait(0.5):
                    raise

    def look(self, scope: Scope, resource_id: str, state: Values) -> Values | None:
        """What AWS knows about the resource, under Pulumi's names; None when it does not exist."""
        from botocore.exceptions import ClientError

        row = scope.row
        try:
            raw = row.find(scope, resource_id, state)
            if raw is None:
                return None
            live = from_api(row.fields, raw, row.style)
            if row.derive is not None:
                live |= row.derive(scope, resource_id, raw, state)
            if row.tagging is not None:
                live.setdefault("tagsAll", self._tags(scope, resource_id, raw, live))
                live["tags"] = self._own_tags(live["tagsAll"], state.get("tags") or {})
        except ClientError as error:
            if GONE.search(error.response["Error"]["Code"]):
                return None
            raise
        if row.regional:
            live["region"] = scope.region
        return {name: value for name, value in live.items() if value is not None}

    def _tags(self, scope: Scope, resource_id: str, raw: Values, live: Values) -> dict[str, str]:
        tagging = scope.row.tagging
        if tagging is None:
            return {}
        if tagging.listing:
            subject = live["arn"] if tagging.arn else resource_id
            raw = getattr(scope.api, tagging.listing)(**tagging.name_subject(subject))
        return tagging.decode(raw.get(tagging.listed))

    def _own_tags(self, live: Mapping[str, str], given: Mapping[str, str]) -> dict[str, str]:
        """The tags less those that only the provider's default tags explain."""
        return {key: value for key, value in live.items() if key in given or self.default_tags.get(key) != value}

    def state(self, row: Row, inputs: Values, live: Values) -> Values:
        given = complete(row.fields, revealed(inputs))
        state = {name: merged(prop, given.get(name), live.get(name)) for name, prop in row.fields.items()}
        if not state.get("tags") and "tags" not in given:
            state.pop("tags", None)
        return _wrapped(row, inputs, {name: value for name, value in state.items() if value is not None})

    def planned(self, row: Row, inputs: Values, state: Values | None) -> Values:
        """The state as a preview can know it: UNKNOWN for what AWS decides, unless an earlier state tells.

        What an earlier state does not have stays away: one UNKNOWN inside a block makes all of it unknown.
        """
        plan = _planned_fields(row.fields, inputs, state)
        if row.regional:
            plan["region"] = (state or {}).get("region") or revealed(inputs.get("region")) or self.region
        return _wrapped(row, inputs, plan)


def _planned_fields(fields: Mapping[str, Property], inputs: Values, state: Values | None) -> Values:
    plan: Values = {}
    for name, prop in fields.items():
        if inputs.get(name) is not None:
            plan[name] = _planned(prop, inputs[name], (state or {}).get(name))
        elif (prop.output or prop.computed) and (state is None or name in state):
            plan[name] = UNKNOWN if state is None else state[name]
        elif prop.default is not None:
            plan[name] = prop.default
    return plan


def _planned(prop: Property, given: Any, state: Any) -> Any:
    if prop.kind is Kind.BLOCK and isinstance(given, dict):
        return _planned_fields(prop.fields, given, state if isinstance(state, dict) else None)
    if prop.item is not None and prop.item.kind is Kind.BLOCK and isinstance(given, list):
        known = state if isinstance(state, list) and len(state) == len(given) else [None] * len(given)
        return [_planned(prop.item, item, there) for item, there in zip(given, known, strict=True)]
    return given


def _wrapped(row: Row, inputs: Values, state: Values) -> Values:
    """The state with Secret around what is sensitive by nature or came in as a secret."""
    return {
        name: Secret(value)
        if not isinstance(value, Secret)
        and (contains(inputs.get(name), Secret) or (name in row.fields and row.fields[name].secret))
        else value
        for name, value in state.items()
    }


def _keeps_name(row: Row, old: Values, new: Values) -> bool:
    """Whether a replacement would ask for a physical name that is still taken."""
    if row.naming is None:
        return False
    name = row.naming.field
    return name not in (new.get(DEFAULTS) or []) and old.get(name) == new.get(name)


def _top(path: str) -> str:
    return path.split(".", 1)[0].split("[", 1)[0]


def explain(error: BaseException) -> str:
    """One sentence for a failure of AWS or of the way to it."""
    response = getattr(error, "response", None)
    if isinstance(response, dict) and "Error" in response:
        operation = getattr(error, "operation_name", "a call")
        return f"{operation}: {response['Error'].get('Code')}: {response['Error'].get('Message')}"
    if type(error).__name__ in {"EndpointConnectionError", "ConnectTimeoutError", "ConnectionClosedError"}:
        return f"the embedded AWS does not answer ({error}): is the platform up?"
    return str(error) or type(error).__name__
