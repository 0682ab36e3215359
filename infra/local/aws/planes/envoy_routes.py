"""Rules of an application load balancer as Envoy routes (pure).

Clients of the local balancer come from this machine's loopback range: a condition on the source address holds for all
of them or for none. What has no counterpart (a part of that range, authentication) becomes a 501 answer that names it,
for the requests that the rest of the rule matches: visible where it matters, and no other rule suffers.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable
from typing import Any

from infra.local.aws.planes.balancer_model import Action, Condition, Listener, Rule, key_of

LOOPBACK = ipaddress.IPv4Network("127.0.0.0/8")
REDIRECT_CODES = {"HTTP_301": "MOVED_PERMANENTLY", "HTTP_302": "FOUND"}
REDIRECT_KEPT = {
    "Protocol": "#{protocol}", "Host": "#{host}", "Port": "#{port}", "Path": "/#{path}", "Query": "#{query}",
}  # fmt: skip
"""A redirect's parts with the value that keeps what the request had."""


class UnsupportedError(ValueError):
    """Something that the local balancer does not offer; the message names it."""


def routes(listener: Listener) -> list[dict[str, Any]]:
    """The routes of a listener, in the order in which Envoy tries them."""
    return [route(rule) for rule in listener.rules if not any(shuts_out(condition) for condition in rule.conditions)]


def shuts_out(condition: Condition) -> bool:
    """Whether a condition on the source address holds for no client of this machine."""
    return condition["Field"] == "source-ip" and not any(
        ipaddress.IPv4Network(value).overlaps(LOOPBACK) for value in values_of(condition) if ":" not in value
    )


def route(rule: Rule) -> dict[str, Any]:
    match: dict[str, Any] = {"prefix": "/"}
    headers: list[dict[str, Any]] = []
    unsupported: list[str] = []
    for condition in rule.conditions:
        if condition["Field"] == "source-ip" and lets_all_in(condition):
            continue
        try:
            name, expression = matcher(condition)
        except UnsupportedError as error:
            unsupported.append(str(error))
            continue
        if name is None:
            match = {"safe_regex": {"regex": expression}}
        else:
            headers.append({"name": name, "string_match": {"safe_regex": {"regex": expression}}})
    if headers:
        match["headers"] = headers
    try:
        if unsupported:
            raise UnsupportedError(", ".join(unsupported))
        effect = perform(rule.actions)
    except UnsupportedError as error:
        effect = answer(501, f"The local load balancer does not offer {error}", "text/plain")
    return {"match": match, **effect}


def lets_all_in(condition: Condition) -> bool:
    ranges = [ipaddress.IPv4Network(value) for value in values_of(condition) if ":" not in value]
    return any(LOOPBACK.subnet_of(one) for one in ranges)


def matcher(condition: Condition) -> tuple[str | None, str]:
    """(header name, or None for the path; regular expression that all of the value must match)."""
    field = condition["Field"]
    values = values_of(condition)
    if field == "path-pattern":
        return None, any_of(wildcards(value) for value in values)
    if field == "host-header":  # without regard to case, and with any port
        return ":authority", f"(?i)(?:{any_of(wildcards(value) for value in values)})(?::[0-9]+)?"
    if field == "http-header":
        name = condition["HttpHeaderConfig"]["HttpHeaderName"]
        return name.lower(), f"(?i)(?:{any_of(wildcards(value) for value in values)})"
    if field == "http-request-method":
        return ":method", any_of(re.escape(value) for value in values)
    if field == "query-string":
        return ":path", f"(?i)[^?]*\\?(?:.*&)?(?:{any_of(parameter(value) for value in values)})(?:&.*)?"
    raise UnsupportedError(f"conditions on {field}")


def values_of(condition: Condition) -> list[Any]:
    """A condition's values, from its own configuration or from the older `Values`."""
    configuration = "".join(part.capitalize() for part in condition["Field"].split("-")) + "Config"
    return list((condition.get(configuration) or {}).get("Values") or condition.get("Values") or [])


def parameter(value: Any) -> str:
    key = wildcards(value["Key"], "[^&=]") if value.get("Key") else "[^&=]+"
    return f"{key}={wildcards(value['Value'], '[^&]')}"


def wildcards(pattern: str, anything: str = ".") -> str:
    """An AWS pattern (`*` for any text, `?` for one character) as a regular expression."""
    return "".join({"*": f"{anything}*", "?": anything}.get(char, re.escape(char)) for char in pattern)


def any_of(expressions: Iterable[str]) -> str:
    return "|".join(expressions)


def perform(actions: tuple[Action, ...]) -> dict[str, Any]:
    """What a route does. Raises UnsupportedError."""
    kinds = [action["Type"] for action in actions]
    if len(actions) != 1:
        raise UnsupportedError(f"the actions {' + '.join(kinds) or '(none)'} in one rule")
    action = actions[0]
    if action["Type"] == "forward":
        return forward(action)
    if action["Type"] == "redirect":
        return redirect(action["RedirectConfig"])
    if action["Type"] == "fixed-response":
        fixed = action["FixedResponseConfig"]
        body = fixed.get("MessageBody") or ""
        return answer(int(fixed["StatusCode"]), body, fixed.get("ContentType") or "text/plain")
    raise UnsupportedError(f"the action {action['Type']}")


def forward(action: Action) -> dict[str, Any]:
    """One cluster, or several by weight: the choice is made anew for each request. A weight of 0 gets nothing."""
    configuration = action.get("ForwardConfig") or {}
    if (configuration.get("TargetGroupStickinessConfig") or {}).get("Enabled") in (True, "true"):
        raise UnsupportedError("target group stickiness")
    groups: list[dict[str, Any]] = configuration.get("TargetGroups") or [
        {"TargetGroupArn": action["TargetGroupArn"], "Weight": 1}
    ]
    weights = {key_of(group["TargetGroupArn"]): int(group.get("Weight", 1)) for group in groups}
    chosen = {name: weight for name, weight in weights.items() if weight > 0}
    if not chosen:
        return answer(503, "No target group of this rule has a weight above 0", "text/plain")
    # Envoy's own limit of 15 s a response would cut streams; the balancer's idle time-out holds instead.
    effect: dict[str, Any] = {"timeout": "0s"}
    if len(chosen) == 1:
        effect["cluster"] = next(iter(chosen))
    else:
        effect["weighted_clusters"] = {
            "clusters": [{"name": name, "weight": weight} for name, weight in chosen.items()]
        }
    return {"route": effect}


def redirect(configuration: Action) -> dict[str, Any]:
    changed = {
        part: configuration[part]
        for part, kept in REDIRECT_KEPT.items()
        if configuration.get(part) not in (None, "", kept)
    }
    for part, value in changed.items():
        if "#{" in value:
            raise UnsupportedError(f"the placeholder in the redirect's {part} {value}")
    effect: dict[str, Any] = {"response_code": REDIRECT_CODES[configuration["StatusCode"]]}
    if protocol := changed.get("Protocol"):
        effect["scheme_redirect"] = protocol.lower()
    if host := changed.get("Host"):
        effect["host_redirect"] = host
    if port := changed.get("Port"):
        effect["port_redirect"] = int(port)
    path, query = changed.get("Path"), changed.get("Query")
    if query is not None and path is None:
        raise UnsupportedError("a redirect that changes the query but not the path")
    if path is not None:
        effect["path_redirect"] = f"{path}?{query}" if query else path
    return {"redirect": effect}


def answer(status: int, body: str, content_type: str) -> dict[str, Any]:
    return {
        "direct_response": {"status": status, "body": {"inline_string": body}},
        "response_headers_to_add": [
            {
                "header": {"key": "content-type", "value": content_type},
                "append_action": "OVERWRITE_IF_EXISTS_OR_ADD",
            }
        ],
    }
