"""Commands on a stack's database, run where it can be reached: in a pod like that of the daily retention."""

from __future__ import annotations

import copy
import json
import time
import urllib.parse
from dataclasses import dataclass
from typing import Any

from infra.ops.errors import PenstockError
from infra.ops.kube import Cluster, NotFoundError
from infra.ops.progress import Progress

LIKE = "retention"
"""The CronJob whose pods sign in as the database's owner."""
ARCHIVE = "PENSTOCK_DATABASE_ARCHIVE"
SECONDS = 6 * 3600
"""The longest dump or restore, and how long its signed URL holds."""
KEPT_SECONDS = 3600
POLL_SECONDS = 1.0


@dataclass(frozen=True)
class DatabasePods:
    cluster: Cluster
    namespace: str
    progress: Progress

    def run(self, verb: str, url: str) -> dict[str, Any]:
        """What `python -m app.gateway.database VERB` printed. Raises PenstockError with its words."""
        job = self.job(verb, url)
        name = job["metadata"]["name"]
        self.cluster.send("POST", self._path("apis/batch/v1", "jobs"), job)
        deadline = time.monotonic() + SECONDS
        while True:
            status = json.loads(self.cluster.read(self._path("apis/batch/v1", f"jobs/{name}"))).get("status") or {}
            if status.get("succeeded") or status.get("failed"):
                break
            if time.monotonic() > deadline:
                raise PenstockError(
                    f"The Job {name} did not end in {SECONDS} s.", f"Look at it: kubectl logs job/{name}"
                )
            time.sleep(POLL_SECONDS)
        said = self.said(name, job)
        if not status.get("succeeded"):
            raise PenstockError(f"`{verb}` failed: {last_line(said)}", "Put that right, and run it again.")
        return json.loads(last_line(said))

    def job(self, verb: str, url: str) -> dict[str, Any]:
        """As the API server takes it. Raises PenstockError where the stack has no such CronJob."""
        path = self._path("apis/batch/v1", f"cronjobs/{LIKE}")
        try:
            daily = json.loads(self.cluster.read(path))
        except NotFoundError:
            raise PenstockError(f"The cluster has no CronJob {LIKE}: the stack is not deployed.") from None
        template = copy.deepcopy(daily["spec"]["jobTemplate"])
        pod = template["spec"]["template"]["spec"]
        (container,) = pod["containers"]
        container["args"] = [verb]
        container["env"] = [*container["env"], {"name": ARCHIVE, "value": url}]
        container["volumeMounts"] = [*container.get("volumeMounts", []), {"name": "archive", "mountPath": "/tmp"}]  # noqa: S108
        pod["volumes"] = [*pod.get("volumes", []), {"name": "archive", "emptyDir": {}}]
        labels = (template.get("metadata") or {}).get("labels") or {}
        name = f"move-{verb}-{time.time_ns() // 1_000_000}"
        return {
            "apiVersion": "batch/v1",
            "kind": "Job",
            "metadata": {"name": name, "namespace": self.namespace, "labels": labels},
            "spec": {
                **template["spec"],
                "backoffLimit": 0,
                "activeDeadlineSeconds": SECONDS,
                "ttlSecondsAfterFinished": KEPT_SECONDS,
            },
        }

    def said(self, name: str, job: dict[str, Any]) -> str:
        """The log of the Job's pod."""
        query = urllib.parse.urlencode({"labelSelector": f"job-name={name}"})
        pods = json.loads(self.cluster.read(f"{self._path('api/v1', 'pods')}?{query}"))["items"]
        if not pods:
            return "it had no pod: see `kubectl describe job`"
        return self.cluster.read(self._path("api/v1", f"pods/{pods[0]['metadata']['name']}/log"))

    def still(self) -> None:
        """Gateways and workers to 0, and waits until the last has gone. Raises PenstockError."""
        apps = ("gateway", "jobs")
        for kind in ("apis/keda.sh/v1alpha1", "scaledobjects"), ("apis/apps/v1", "deployments"):
            for item in self.cluster.items(self._path(*kind)):
                name = item["metadata"]["name"]
                if not name.startswith(apps):
                    continue
                asleep: dict[str, Any] = {"spec": {"replicas": 0}}
                if kind[1] == "scaledobjects":
                    asleep = {"metadata": {"annotations": {"autoscaling.keda.sh/paused-replicas": "0"}}}
                self.cluster.send("PATCH", self._path(kind[0], f"{kind[1]}/{name}"), asleep)
        deadline = time.monotonic() + 900
        while left := [pod.name for pod in self.cluster.pods(self.namespace) if pod.app in apps]:
            self.progress.detail(f"{len(left)} pods end their streams")
            if time.monotonic() > deadline:
                raise PenstockError(f"{', '.join(left)} did not end in 900 s.", "End them, and run it again.")
            time.sleep(POLL_SECONDS)

    def _path(self, group: str, what: str) -> str:
        return f"/{group}/namespaces/{self.namespace}/{what}"


def last_line(text: str) -> str:
    return next((line for line in reversed(text.strip().splitlines()) if line.strip()), "it said nothing")
