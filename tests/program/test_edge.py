"""The edge in the whole program: with a zone the platform makes its own certificate and name."""

from __future__ import annotations

from collections.abc import Callable

from infra.rehearsal import Rehearsal


def test_with_a_zone_the_program_makes_certificate_and_name_and_the_listener_takes_it(
    rehearsed_with: Callable[..., Rehearsal],
):
    def edit(config: dict) -> None:
        config["penstock:edge"]["certificateArn"] = None
        config["penstock:edge"]["hostedZoneId"] = "Z0123456789ABC"

    rehearsal = rehearsed_with("prod", edit)
    assert rehearsal.one("aws:acm/certificate:Certificate", "certificate").inputs["domainName"] == "llm.example.com"
    issued = rehearsal.one("aws:acm/certificateValidation:CertificateValidation", "certificate-issued")
    listener = rehearsal.one("aws:lb/listener:Listener", "edge")
    assert listener.inputs["certificateArn"] == issued.inputs["certificateArn"]
    assert issued.urn in listener.dependencies
    assert rehearsal.one("aws:route53/record:Record", "edge-name").inputs["name"] == "llm.example.com"
    assert rehearsal.outputs["gatewayUrl"] == "https://llm.example.com"


def test_every_stack_stands_behind_a_firewall(stack: str, rehearsed: Callable[..., Rehearsal]):
    rehearsal = rehearsed(stack)
    (association,) = rehearsal.of_type("aws:wafv2/webAclAssociation:WebAclAssociation")
    assert rehearsal.one("aws:lb/loadBalancer:LoadBalancer", "edge").urn in association.dependencies
