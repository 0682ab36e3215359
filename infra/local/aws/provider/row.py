"""A row of the table: what the engine must know about one resource type, and the helpers to write rows with."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from infra.local.aws.provider.clients import Clients
from infra.local.aws.provider.schema import Property, Style, mapping, out, pascal, text, to_api
from infra.local.aws.provider.values import Values

GONE = re.compile(r"NotFound|NoSuch|NotExist|Non[Ee]xistent|^404$")
BUSY = re.compile(r"DependencyViolation|InUse|DeleteConflict|Conflict|AssociatedItem|Invalid\w+State")


class NotDoneError(RuntimeError):
    """AWS did not reach the wanted state in time, or reached a failed one."""


@dataclass(frozen=True)
class Tagging:
    """How a service tags: the calls and the names of their fields. `subject`: the id's field; a leading `[]` makes
    it a list. `arn`: the subject is the resource's ARN (else its id). `listing`: call that reads tags, `listed`: its
    field. `key` is empty where the service speaks of tags as a map."""

    put: str
    remove: str
    subject: str
    tags: str = "Tags"
    keys: str = "TagKeys"
    key: str = "Key"
    value: str = "Value"
    arn: bool = True
    listing: str = ""
    listed: str = "TagList"
    keys_as_tags: bool = False

    def encode(self, tags: Mapping[str, str]) -> Any:
        if not self.key:
            return dict(tags)
        return [{self.key: key, self.value: value} for key, value in sorted(tags.items())]

    def decode(self, listed: Any) -> dict[str, str]:
        if not self.key:
            return dict(listed or {})
        return {tag[self.key]: tag.get(self.value, "") for tag in listed or [] if not tag[self.key].startswith("aws:")}

    def name_subject(self, subject: str) -> Values:
        return {self.subject[2:]: [subject]} if self.subject.startswith("[]") else {self.subject: subject}

    def change(self, client: Any, subject: str, live: Mapping[str, str], wanted: Mapping[str, str]) -> None:
        """Makes the tags `wanted`, from `live`."""
        leave = sorted(set(live) - set(wanted))
        fresh = {key: value for key, value in wanted.items() if live.get(key) != value}
        if leave:
            keys = [{self.key: key} for key in leave] if self.keys_as_tags else leave
            getattr(client, self.remove)(**self.name_subject(subject), **{self.keys: keys})
        if fresh:
            getattr(client, self.put)(**self.name_subject(subject), **{self.tags: self.encode(fresh)})


@dataclass(frozen=True)
class Naming:
    """A physical name that is made up where none is given: `<prefix><logical name>-<7 hex digits>`."""

    field: str = "name"
    limit: int = 255
    lower: bool = False
    start: str = ""
    prefix_field: str = ""


@dataclass
class Scope:
    """What a row's functions work with: clients, the resource's region, the account, and waiting."""

    row: Row
    clients: Clients
    region: str
    account: str
    cancelled: threading.Event

    @property
    def api(self) -> Any:
        return self.client(self.row.service)

    def client(self, service: str) -> Any:
        return self.clients.get(service, self.region)

    def arn(self, service: str, resource: str, *, region: bool = True, account: bool = True) -> str:
        where = f"{self.region if region else ''}:{self.account if account else ''}"
        return f"arn:aws:{service}:{where}:{resource}"  # the embedded AWS is of this partition

    def request(self, values: Mapping[str, Any], only: Iterable[str] | None = None) -> Values:
        """The API's fields for these values (or for those named in `only`)."""
        chosen = values if only is None else {name: values[name] for name in only if name in values}
        return to_api(self.row.fields, chosen, self.row.style)

    def wait(self, what: str, ready: Callable[[], bool], seconds: float = 300.0) -> None:
        """Polls until `ready`. Raises NotDoneError when the time is up or the operation is cancelled."""
        deadline, pause = time.monotonic() + seconds, 0.05
        while not ready():
            if time.monotonic() > deadline:
                raise NotDoneError(f"{what} within {seconds:.0f} s: not reached")
            if self.cancelled.wait(pause):
                raise NotDoneError(f"{what}: cancelled")
            pause = min(pause * 1.5, 1.0)

    def wait_gone(self, what: str, resource_id: str, state: Values, seconds: float = 300.0) -> None:
        """Polls until AWS does not list the resource any more. Raises as `wait` does."""
        from botocore.exceptions import ClientError

        def gone() -> bool:
            try:
                return self.row.find(self, resource_id, state) is None
            except ClientError as error:
                if GONE.search(error.response["Error"]["Code"]):
                    return True
                raise

        self.wait(f"{what} deleted", gone, seconds)


Create = Callable[[Scope, Values], str]
Find = Callable[[Scope, str, Values], Values | None]
Derive = Callable[[Scope, str, Values, Values], Values]
Settle = Callable[[Scope, str, Values], None]
Update = Callable[[Scope, str, Values, frozenset[str]], None]
Delete = Callable[[Scope, str, Values], None]


@dataclass(frozen=True, kw_only=True)
class Row:
    """One resource type.

    `create` makes the resource and returns its id; `settle` finishes it (attributes, waiting) and `update` changes
    it (given the whole new values and the names of what changed). `find` returns AWS's description of it or None;
    the engine translates that by `fields`, then adds what `derive` makes of it. `delete` may raise "not found".
    All take Values with defaults filled in; `find`, `derive` and `delete` get the last known state.
    """

    kind: str
    service: str
    fields: Mapping[str, Property]
    create: Create
    find: Find
    delete: Delete
    derive: Derive | None = None
    settle: Settle | None = None
    update: Update | None = None
    tagging: Tagging | None = None
    naming: Naming | None = None
    style: Style = pascal
    regional: bool = True
    delete_before_replace: bool = False
    renewed: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Outputs that an update makes anew -> the inputs whose change does it (none named: any but the tags)."""
    common: Mapping[str, Property] = field(init=False)

    def __post_init__(self) -> None:
        fields = dict(self.fields)
        if self.regional:
            fields["region"] = text(False, computed=True, replace=True)
        if self.tagging is not None:
            fields["tags"] = mapping(False)
            fields["tagsAll"] = mapping(False)
        object.__setattr__(self, "fields", fields)
        object.__setattr__(self, "common", {name: fields[name] for name in ("region", "tagsAll") if name in fields})

    @property
    def arguments(self) -> dict[str, Property]:
        """What a program may give."""
        return {name: prop for name, prop in self.fields.items() if not prop.output and name != "tagsAll"}


def dig(reply: Any, path: str) -> Any:
    """A nested value by a dotted path, where numbers index lists. None where something is missing or empty."""
    for part in path.split("."):
        if reply is None:
            return None
        reply = next(iter(reply[int(part) :]), None) if part.isdigit() else reply.get(part)
    return reply


def creating(
    operation: str, path: str, *, tags: str = "", resource_type: str = "", omit: Iterable[str] = (), **extra: Any
) -> Create:
    """`create` by one call with all inputs but those in `omit`; the id is at `path` of the reply. `tags`: the tags'
    field; `resource_type`: EC2's way of tagging at creation."""
    left_out = frozenset(omit)

    def create(scope: Scope, values: Values) -> str:
        request = {
            **extra,
            **scope.request(values, [name for name in values if name not in left_out]),
            **tags_of(scope, values, tags, resource_type),
        }
        return dig(getattr(scope.api, operation)(**request), path)

    return create


def tags_of(scope: Scope, values: Values, tags: str = "", resource_type: str = "") -> Values:
    """The part of a creating call that carries the tags; empty where there are none."""
    wanted = values.get("tagsAll")
    if not wanted or scope.row.tagging is None:
        return {}
    encoded = scope.row.tagging.encode(wanted)
    if resource_type:
        return {"TagSpecifications": [{"ResourceType": resource_type, "Tags": encoded}]}
    return {tags: encoded} if tags else {}


def finding(operation: str, path: str, key: Callable[[str], Values]) -> Find:
    def find(scope: Scope, resource_id: str, state: Values) -> Values | None:
        return dig(getattr(scope.api, operation)(**key(resource_id)), path)

    return find


def updating(operation: str, key: Callable[[str], Values], *, ignore: Iterable[str] = (), **extra: Any) -> Update:
    """`update` by one call with the changed properties."""
    skipped = frozenset(ignore)

    def update(scope: Scope, resource_id: str, values: Values, changed: frozenset[str]) -> None:
        request = scope.request(values, changed - skipped)
        if request:
            getattr(scope.api, operation)(**{**extra, **request, **key(resource_id)})

    return update


def deleting(operation: str, key: Callable[[str], Values]) -> Delete:
    def delete(scope: Scope, resource_id: str, state: Values) -> None:
        getattr(scope.api, operation)(**key(resource_id))

    return delete


def arn_output() -> Property:
    return out(text(False))
