"""aws:lb: load balancer and target group."""

from __future__ import annotations

from infra.local.aws.provider.resources.balancer_common import BALANCER_TAGS, read_attributes, written
from infra.local.aws.provider.row import Naming, NotDoneError, Row, Scope, creating, deleting, dig, finding
from infra.local.aws.provider.schema import block, block_set, flag, integer, out, text, text_set
from infra.local.aws.provider.values import Values

COMMON_ATTRIBUTES = {
    "enableDeletionProtection": "deletion_protection.enabled",
    "enableZonalShift": "zonal_shift.config.enabled",
}
APPLICATION_ATTRIBUTES = {
    "idleTimeout": "idle_timeout.timeout_seconds",
    "clientKeepAlive": "client_keep_alive.seconds",
    "desyncMitigationMode": "routing.http.desync_mitigation_mode",
    "dropInvalidHeaderFields": "routing.http.drop_invalid_header_fields.enabled",
    "enableHttp2": "routing.http2.enabled",
    "enableTlsVersionAndCipherSuiteHeaders": "routing.http.x_amzn_tls_version_and_cipher_suite.enabled",
    "enableWafFailOpen": "waf.fail_open.enabled",
    "enableXffClientPort": "routing.http.xff_client_port.enabled",
    "preserveHostHeader": "routing.http.preserve_host_header.enabled",
    "xffHeaderProcessingMode": "routing.http.xff_header_processing.mode",
}
NETWORK_ATTRIBUTES = {
    "enableCrossZoneLoadBalancing": "load_balancing.cross_zone.enabled",
    "dnsRecordClientRoutingPolicy": "dns_record.client_routing_policy",
}
LOGS = {
    "accessLogs": "access_logs.s3",
    "connectionLogs": "connection_logs.s3",
    "healthCheckLogs": "health_check_logs.s3",
}
LOG = {"bucket": text(required=True), "enabled": flag(default=False), "prefix": text()}


def _keys(kind: str) -> dict[str, str]:
    return {**COMMON_ATTRIBUTES, **(APPLICATION_ATTRIBUTES if kind == "application" else NETWORK_ATTRIBUTES)}


def _create(scope: Scope, values: Values) -> str:
    left_out = (*COMMON_ATTRIBUTES, *APPLICATION_ATTRIBUTES, *NETWORK_ATTRIBUTES, *LOGS)
    scheme = "internal" if values.get("internal") else "internet-facing"
    made = creating(
        "create_load_balancer", "LoadBalancers.0.LoadBalancerArn", tags="Tags", omit=left_out, Scheme=scheme
    )
    return made(scope, values)


def _settle(scope: Scope, balancer: str, values: Values) -> None:
    fields = scope.row.fields
    asked = {
        name
        for name in (*_keys(values["loadBalancerType"]), *LOGS)
        if values.get(name) not in (None, fields[name].default)
    }
    _put_attributes(scope, balancer, values, frozenset(asked))

    def active() -> bool:
        found = dig(scope.api.describe_load_balancers(LoadBalancerArns=[balancer]), "LoadBalancers.0.State.Code")
        if found == "failed":
            raise NotDoneError(f"load balancer {balancer}: state failed")
        return found in {"active", "active_impaired"}

    scope.wait(f"load balancer {balancer} active", active)


def _put_attributes(scope: Scope, balancer: str, values: Values, changed: frozenset[str]) -> None:
    keys = _keys(values["loadBalancerType"])
    attributes = [
        written(keys[name], values[name]) for name in sorted(changed & set(keys)) if values.get(name) is not None
    ]
    for name in sorted(changed & set(LOGS)):
        log = values.get(name) or {}
        attributes.append(written(f"{LOGS[name]}.enabled", bool(log.get("enabled"))))
        if log:
            attributes.append(written(f"{LOGS[name]}.bucket", log["bucket"]))
            attributes.append(written(f"{LOGS[name]}.prefix", log.get("prefix") or ""))
    if attributes:
        scope.api.modify_load_balancer_attributes(LoadBalancerArn=balancer, Attributes=attributes)


def _update(scope: Scope, balancer: str, values: Values, changed: frozenset[str]) -> None:
    if "securityGroups" in changed:
        scope.api.set_security_groups(LoadBalancerArn=balancer, SecurityGroups=values.get("securityGroups") or [])
    if changed & {"subnets", "subnetMappings", "ipAddressType"}:
        request = scope.request(values, changed & {"subnets", "subnetMappings"})
        if request:
            scope.api.set_subnets(LoadBalancerArn=balancer, **request)
        if "ipAddressType" in changed and values.get("ipAddressType"):
            scope.api.set_ip_address_type(LoadBalancerArn=balancer, IpAddressType=values["ipAddressType"])
    _put_attributes(scope, balancer, values, changed)


def _outputs(scope: Scope, balancer: str, raw: Values, state: Values) -> Values:
    listed = scope.api.describe_load_balancer_attributes(LoadBalancerArn=balancer)["Attributes"]
    there = {it["Key"]: it["Value"] for it in listed}
    logs = {
        name: {
            "enabled": str(there.get(f"{prefix}.enabled")).lower() == "true",
            "bucket": there.get(f"{prefix}.bucket"),
            "prefix": there.get(f"{prefix}.prefix") or None,
        }
        for name, prefix in LOGS.items()
        if there.get(f"{prefix}.bucket")
    }
    tags = dig(scope.api.describe_tags(ResourceArns=[balancer]), "TagDescriptions.0.Tags")
    zones = raw.get("AvailabilityZones", [])
    return {
        **read_attributes(scope.row.fields, _keys(raw["Type"]), listed),
        **logs,
        "arnSuffix": balancer.split(":loadbalancer/", 1)[-1],
        "internal": raw.get("Scheme") == "internal",
        "subnets": sorted(zone["SubnetId"] for zone in zones),
        "subnetMappings": [{"subnetId": it} for it in sorted(zone["SubnetId"] for zone in zones)],
        "tagsAll": BALANCER_TAGS.decode(tags),
    }


LOAD_BALANCER = Row(
    kind="aws:lb/loadBalancer:LoadBalancer",
    service="elbv2",
    fields={
        "name": text("Name", reply="LoadBalancerName", replace=True),
        "namePrefix": text(False, replace=True, write_only=True),
        "internal": flag(False, default=False, replace=True),
        "loadBalancerType": text("Type", default="application", replace=True),
        "ipAddressType": text(computed=True),
        "securityGroups": text_set(computed=True),
        "subnets": text_set(reply=False, computed=True),
        "subnetMappings": block_set(
            {
                "subnetId": text(required=True),
                "allocationId": text(write_only=True),
                "privateIpv4Address": text("PrivateIPv4Address", write_only=True),
            },
            reply=False,
            computed=True,
        ),
        "enableDeletionProtection": flag(False, default=False),
        "enableZonalShift": flag(False, default=False),
        "idleTimeout": integer(False, default=60),
        "clientKeepAlive": integer(False, default=3600),
        "desyncMitigationMode": text(False, default="defensive"),
        "dropInvalidHeaderFields": flag(False, default=False),
        "enableHttp2": flag(False, default=True),
        "enableTlsVersionAndCipherSuiteHeaders": flag(False, default=False),
        "enableWafFailOpen": flag(False, default=False),
        "enableXffClientPort": flag(False, default=False),
        "preserveHostHeader": flag(False, default=False),
        "xffHeaderProcessingMode": text(False, default="append"),
        "enableCrossZoneLoadBalancing": flag(False, computed=True),
        "dnsRecordClientRoutingPolicy": text(False, computed=True),
        "accessLogs": block(LOG, False),
        "connectionLogs": block(LOG, False),
        "healthCheckLogs": block(LOG, False),
        "arn": out(text("LoadBalancerArn")),
        "arnSuffix": out(text(False)),
        "dnsName": out(text("DNSName")),
        "vpcId": out(text()),
        "zoneId": out(text("CanonicalHostedZoneId")),
    },
    create=_create,
    settle=_settle,
    find=finding("describe_load_balancers", "LoadBalancers.0", lambda it: {"LoadBalancerArns": [it]}),
    derive=_outputs,
    update=_update,
    delete=deleting("delete_load_balancer", lambda it: {"LoadBalancerArn": it}),
    tagging=BALANCER_TAGS,
    naming=Naming(limit=32, prefix_field="namePrefix"),
)

GROUP_ATTRIBUTES = {
    "deregistrationDelay": "deregistration_delay.timeout_seconds",
    "loadBalancingAlgorithmType": "load_balancing.algorithm.type",
    "loadBalancingAnomalyMitigation": "load_balancing.algorithm.anomaly_mitigation",
    "loadBalancingCrossZoneEnabled": "load_balancing.cross_zone.enabled",
    "slowStart": "slow_start.duration_seconds",
    "connectionTermination": "deregistration_delay.connection_termination.enabled",
    "proxyProtocolV2": "proxy_protocol_v2.enabled",
    "preserveClientIp": "preserve_client_ip.enabled",
}
HEALTH_FIELDS = {
    "enabled": "HealthCheckEnabled",
    "healthyThreshold": "HealthyThresholdCount",
    "interval": "HealthCheckIntervalSeconds",
    "path": "HealthCheckPath",
    "port": "HealthCheckPort",
    "protocol": "HealthCheckProtocol",
    "timeout": "HealthCheckTimeoutSeconds",
    "unhealthyThreshold": "UnhealthyThresholdCount",
}


def _health_check(values: Values) -> Values:
    check = values.get("healthCheck") or {}
    request = {wire: check[name] for name, wire in HEALTH_FIELDS.items() if check.get(name) is not None}
    if check.get("matcher"):
        kind = "GrpcCode" if values.get("protocolVersion") == "GRPC" else "HttpCode"
        request["Matcher"] = {kind: check["matcher"]}
    return request


def _create_group(scope: Scope, values: Values) -> str:
    left_out = (*GROUP_ATTRIBUTES, "healthCheck", "stickiness")
    check = _health_check(values)
    made = creating("create_target_group", "TargetGroups.0.TargetGroupArn", tags="Tags", omit=left_out, **check)
    return made(scope, values)


def _settle_group(scope: Scope, group: str, values: Values) -> None:
    asked = {
        name
        for name in (*GROUP_ATTRIBUTES, "stickiness")
        if values.get(name) not in (None, scope.row.fields[name].default)
    }
    _put_group_attributes(scope, group, values, frozenset(asked))


def _put_group_attributes(scope: Scope, group: str, values: Values, changed: frozenset[str]) -> None:
    attributes = [
        written(GROUP_ATTRIBUTES[name], values[name])
        for name in sorted(changed & set(GROUP_ATTRIBUTES))
        if values.get(name) is not None
    ]
    if "stickiness" in changed:
        stick = values.get("stickiness") or {"enabled": False}
        attributes.append(written("stickiness.enabled", stick.get("enabled", True)))
        if stick.get("type"):
            attributes.append(written("stickiness.type", stick["type"]))
        if stick.get("type") == "lb_cookie" and stick.get("cookieDuration"):
            attributes.append(written("stickiness.lb_cookie.duration_seconds", stick["cookieDuration"]))
        if stick.get("type") == "app_cookie":
            attributes.append(written("stickiness.app_cookie.cookie_name", stick["cookieName"]))
            attributes.append(written("stickiness.app_cookie.duration_seconds", stick.get("cookieDuration", 86400)))
    if attributes:
        scope.api.modify_target_group_attributes(TargetGroupArn=group, Attributes=attributes)


def _update_group(scope: Scope, group: str, values: Values, changed: frozenset[str]) -> None:
    if "healthCheck" in changed:
        scope.api.modify_target_group(TargetGroupArn=group, **_health_check(values))
    _put_group_attributes(scope, group, values, changed)


def _group_outputs(scope: Scope, group: str, raw: Values, state: Values) -> Values:
    listed = scope.api.describe_target_group_attributes(TargetGroupArn=group)["Attributes"]
    there = {it["Key"]: it["Value"] for it in listed}
    kind = there.get("stickiness.type")
    cookie = there.get(f"stickiness.{kind}.duration_seconds")
    matcher = raw.get("Matcher") or {}
    return {
        **read_attributes(scope.row.fields, GROUP_ATTRIBUTES, listed),
        "arnSuffix": group.rsplit(":", 1)[-1],
        "healthCheck": {
            **{name: raw.get(wire) for name, wire in HEALTH_FIELDS.items() if raw.get(wire) is not None},
            "matcher": matcher.get("HttpCode") or matcher.get("GrpcCode"),
        },
        "stickiness": {
            "enabled": str(there.get("stickiness.enabled")).lower() == "true",
            "type": kind,
            "cookieDuration": int(cookie) if cookie else 86400,
            "cookieName": there.get("stickiness.app_cookie.cookie_name"),
        },
        "tagsAll": BALANCER_TAGS.decode(dig(scope.api.describe_tags(ResourceArns=[group]), "TagDescriptions.0.Tags")),
    }


TARGET_GROUP = Row(
    kind="aws:lb/targetGroup:TargetGroup",
    service="elbv2",
    fields={
        "name": text("Name", reply="TargetGroupName", replace=True),
        "namePrefix": text(False, replace=True, write_only=True),
        "port": integer(replace=True),
        "protocol": text(replace=True),
        "protocolVersion": text(computed=True, replace=True),
        "vpcId": text(replace=True),
        "targetType": text(default="instance", replace=True),
        "ipAddressType": text(computed=True, replace=True),
        "deregistrationDelay": integer(False, default=300),
        "loadBalancingAlgorithmType": text(False, computed=True),
        "loadBalancingAnomalyMitigation": text(False, computed=True),
        "loadBalancingCrossZoneEnabled": text(False, computed=True),
        "slowStart": integer(False, default=0),
        "connectionTermination": flag(False, computed=True),
        "proxyProtocolV2": flag(False, default=False),
        "preserveClientIp": text(False, computed=True),
        "healthCheck": block(
            {
                "enabled": flag(default=True),
                "healthyThreshold": integer(computed=True),
                "interval": integer(default=30),
                "matcher": text(computed=True),
                "path": text(computed=True),
                "port": text(default="traffic-port"),
                "protocol": text(computed=True),
                "timeout": integer(computed=True),
                "unhealthyThreshold": integer(computed=True),
            },
            False,
            computed=True,
        ),
        "stickiness": block(
            {
                "type": text(required=True),
                "enabled": flag(default=True),
                "cookieDuration": integer(default=86400),
                "cookieName": text(),
            },
            False,
            computed=True,
        ),
        "arn": out(text("TargetGroupArn")),
        "arnSuffix": out(text(False)),
    },
    create=_create_group,
    settle=_settle_group,
    find=finding("describe_target_groups", "TargetGroups.0", lambda it: {"TargetGroupArns": [it]}),
    derive=_group_outputs,
    update=_update_group,
    delete=deleting("delete_target_group", lambda it: {"TargetGroupArn": it}),
    tagging=BALANCER_TAGS,
    naming=Naming(limit=32, prefix_field="namePrefix"),
)

ROWS = (LOAD_BALANCER, TARGET_GROUP)
