"""Firewall, certificate and the name of the load balancer."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from infra.rehearsal import Rehearsal

Registered = Callable[[Callable[[], object]], Rehearsal]


def firewall() -> object:
    from components.firewall import Firewall

    return Firewall(
        "firewall",
        {
            "load_balancer_arn": "arn:balancer",
            "requests_per_five_minutes_per_ip": 500,
            "log_name": "penstock-test",
            "log_retention_days": 30,
            "logs_key_arn": "arn:key",
        },
    )


def edge(**more: Any) -> object:
    from components.edge import Edge

    return Edge(
        "edge",
        {
            "vpc_id": "vpc",
            "subnet_ids": ["subnet-a", "subnet-b"],
            "security_group_id": "sg",
            "port": 443,
            "idle_timeout_seconds": 600,
            "deregistration_delay_seconds": 60,
            "health_period_seconds": 5,
            "protected": False,
            **more,
        },
    )


def test_what_the_firewall_refuses_is_logged_under_the_key_without_credentials(registered: Registered):
    rehearsal = registered(firewall)
    group = rehearsal.one("aws:cloudwatch/logGroup:LogGroup", "firewall-logs").inputs
    assert group["name"].startswith("aws-waf-logs-"), "AWS WAF writes to no other"
    assert (group["kmsKeyId"], group["retentionInDays"]) == ("arn:key", 30)
    logging = rehearsal.one("aws:wafv2/webAclLoggingConfiguration:WebAclLoggingConfiguration", "firewall-logging")
    redacted = [field["singleHeader"]["name"] for field in logging.inputs["redactedFields"]]
    assert redacted == ["authorization", "x-api-key", "cookie"]


def test_the_admin_api_is_open_to_named_ranges_and_else_to_nobody(registered: Registered):
    def rules(**more: Any) -> list[str]:
        return [each.name for each in registered(lambda: edge(**more)).of_type("aws:lb/listenerRule:ListenerRule")]

    assert "edge-admin" not in rules()
    assert "edge-admin" not in rules(admin_cidrs=[])
    weights = {"blue": 100, "green": 0}
    rehearsal = registered(lambda: edge(admin_cidrs=["203.0.113.0/24"], admin_weights=weights))
    rule = rehearsal.one("aws:lb/listenerRule:ListenerRule", "edge-admin").inputs
    assert {"sourceIp": {"values": ["203.0.113.0/24"]}} in rule["conditions"]
    assert {"pathPattern": {"values": ["/admin/*", "/console", "/console/*"]}} in rule["conditions"]
    assert [group["weight"] for group in rule["actions"][0]["forward"]["targetGroups"]] == [100, 0]


def test_the_firewall_stands_before_the_load_balancer(registered: Registered):
    (association,) = registered(firewall).of_type("aws:wafv2/webAclAssociation:WebAclAssociation")
    assert association.inputs["resourceArn"] == "arn:balancer"


def test_a_certificate_is_waited_for_and_its_proof_stays(registered: Registered):
    from components.certificate import Certificate

    rehearsal = registered(
        lambda: Certificate("certificate", {"hostname": "llm.example.com", "zone_id": "ZTEST"}),
    )
    proof = rehearsal.one("aws:route53/record:Record", "certificate-proof")
    assert (proof.inputs["zoneId"], proof.inputs["name"], proof.inputs["type"]) == (
        "ZTEST",
        "_proof.llm.example.com",
        "CNAME",
    )
    issued = rehearsal.one("aws:acm/certificateValidation:CertificateValidation", "certificate-issued")
    assert proof.urn in issued.dependencies


def test_a_zone_gets_the_name_of_the_load_balancer_and_without_one_nothing_is_put(registered: Registered):
    assert registered(lambda: edge(hostname="llm.example.com")).of_type("aws:route53/record:Record") == []
    record = registered(lambda: edge(hostname="llm.example.com", hosted_zone_id="ZTEST")).one(
        "aws:route53/record:Record", "edge-name"
    )
    (alias,) = record.inputs["aliases"]
    assert (record.inputs["name"], record.inputs["type"]) == ("llm.example.com", "A")
    assert (alias["name"], alias["evaluateTargetHealth"]) == ("edge.balancer.invalid", True)


def test_with_a_certificate_the_listener_speaks_tls_1_3(registered: Registered):
    listener = registered(lambda: edge(certificate_arn="arn:certificate")).one("aws:lb/listener:Listener", "edge")
    assert listener.inputs["protocol"] == "HTTPS"
    assert "TLS13" in listener.inputs["sslPolicy"]
