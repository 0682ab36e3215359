"""Rules on workloads and traffic: containers, images, the drain contract, weights."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from components.engines import ENGINES
from infra.policy.subject import Props, Subject

COLOUR_LABEL = "penstock.dev/colour"
"""Only what serves requests carries it: gateways and engines."""
GROUP_TYPE = "kubernetes:leaderworkerset.x-k8s.io/v1:LeaderWorkerSet"
TEMPLATES: dict[str, tuple[str, ...]] = {
    "kubernetes:core/v1:Pod": ("spec",),
    "kubernetes:apps/v1:Deployment": ("spec", "template", "spec"),
    "kubernetes:apps/v1:StatefulSet": ("spec", "template", "spec"),
    "kubernetes:apps/v1:DaemonSet": ("spec", "template", "spec"),
    "kubernetes:leaderworkerset.x-k8s.io/v1:LeaderWorkerSet": (
        "spec",
        "leaderWorkerTemplate",
        "leaderTemplate",
        "spec",
    ),
    "kubernetes:batch/v1:Job": ("spec", "template", "spec"),
    "kubernetes:batch/v1:CronJob": ("spec", "jobTemplate", "spec", "template", "spec"),
}
"""Where each kind of workload keeps its pods' specification."""
PROBE_DEFAULTS = {"periodSeconds": 10, "failureThreshold": 3}


def weights_make_a_hundred(subject: Subject) -> Iterator[str]:
    """The weights of the target groups of a rule are given and sum to 100."""
    if subject.type != "aws:lb/listenerRule:ListenerRule":
        return
    for action in subject.props.get("actions") or []:
        groups = (action.get("forward") or {}).get("targetGroups") or []
        if not groups:
            continue
        weights = [group.get("weight") for group in groups]
        if None in weights:
            yield "each target group must have a weight; AWS takes a missing one as 1"
        elif sum(weights) != 100:
            yield f"the weights {' + '.join(map(str, map(int, weights)))} must sum to 100"


def containers_are_unprivileged(subject: Subject) -> Iterator[str]:
    """Containers drop all capabilities, cannot gain privileges, and share nothing with the host."""
    pod = _pod(subject)
    for key in ("hostNetwork", "hostPID", "hostIPC"):
        if pod.get(key) is True:
            yield f"{key} must not be true"
    for container in _containers(pod):
        name, context = container.get("name"), container.get("securityContext") or {}
        if context.get("privileged") is True:
            yield f"container {name}: securityContext.privileged must not be true"
        if context.get("allowPrivilegeEscalation") is not False:
            yield f"container {name}: securityContext.allowPrivilegeEscalation must be false"
        if "ALL" not in ((context.get("capabilities") or {}).get("drop") or []):
            yield f"container {name}: securityContext.capabilities.drop must hold ALL"


def production_pins_images(subject: Subject) -> Iterator[str]:
    """In production images are named by their digest."""
    if not subject.in_production:
        return
    for container in _containers(_pod(subject)):
        if "@sha256:" not in container.get("image", ""):
            yield f"container {container.get('name')}: image must be named by its digest (@sha256:...) in production"


def pods_drain_before_they_are_killed(subject: Subject) -> Iterator[str]:
    """What serves requests sleeps until it has left the endpoints, and has time left to end its streams.

    The parts of the contract that a manifest shows; infra/settings/drain.py checks the whole of it in settings.
    """
    pod = _pod(subject)
    if not pod or COLOUR_LABEL not in _labels(subject):
        return
    grace = pod.get("terminationGracePeriodSeconds") or 30
    for container in pod.get("containers") or []:
        name = container.get("name")
        sleep = _pre_stop(container)
        if not sleep:
            yield f"container {name}: lifecycle.preStop.sleep.seconds must give the pod time to leave the endpoints"
            continue
        if grace <= sleep + (shutdown := _shutdown_seconds(container)):
            yield (
                f"terminationGracePeriodSeconds {grace} must be more than preStop {sleep} + shutdown {shutdown} of "
                f"container {name}, in seconds"
            )
        probe = PROBE_DEFAULTS | dict(container.get("readinessProbe") or {})
        if sleep < (window := probe["periodSeconds"] * probe["failureThreshold"]):
            yield f"container {name}: preStop {sleep} must be {window} or more, in which its probes notice, in seconds"


def target_groups_wait_for_draining_pods(subjects: Sequence[Subject]) -> Iterator[str]:
    """The load balancer keeps a target's streams for longer than its pod sleeps before it ends.

    A pod behind the load balancer must not outlive its registration: streams would be cut.
    """
    gateways = [_pod(each) for each in subjects if _labels(each).get("app.kubernetes.io/name") == "gateway"]
    sleep = max((_pre_stop(it) for pod in gateways for it in pod.get("containers") or []), default=0)
    for group in subjects:
        delay = group.props.get("deregistrationDelay")
        if group.type == "aws:lb/targetGroup:TargetGroup" and delay is not None and int(delay) <= sleep:
            yield f"{group.name}: deregistrationDelay {delay} must be more than preStop {sleep} of gateways, in seconds"


def disruption_budgets_let_nodes_go(subject: Subject) -> Iterator[str]:
    """A disruption budget lets at least one pod go, so that nodes can be drained."""
    if subject.type != "kubernetes:policy/v1:PodDisruptionBudget":
        return
    spec = subject.props.get("spec") or {}
    if spec.get("maxUnavailable") in (0, "0", "0%") or spec.get("minAvailable") == "100%":
        yield "the budget lets no pod go: a node could never be drained"


def _pod(subject: Subject) -> Props:
    """The pods' specification; empty for what makes no pods."""
    found: Any = subject.props if subject.type in TEMPLATES else {}
    for key in TEMPLATES.get(subject.type, ()):
        found = found.get(key) or {}
    return found


def _labels(subject: Subject) -> Props:
    if subject.type not in TEMPLATES:
        return {}
    template = (subject.props.get("spec") or {}).get("template") or subject.props
    return (template.get("metadata") or {}).get("labels") or {}


def _containers(pod: Props) -> list[Props]:
    return [*(pod.get("initContainers") or []), *(pod.get("containers") or [])]


def _pre_stop(container: Props) -> int:
    return (((container.get("lifecycle") or {}).get("preStop") or {}).get("sleep") or {}).get("seconds") or 0


def _shutdown_seconds(container: Props) -> int:
    """An engine's own time to end its streams. The gateway's stands in its settings, not in its manifest."""
    arguments = list(container.get("args") or [])
    flags = [engine.drain.flag for engine in ENGINES.values() if engine.drain.flag in arguments[:-1]]
    return max((int(arguments[arguments.index(flag) + 1]) for flag in flags), default=0)
