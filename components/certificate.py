"""The TLS certificate of the name that clients use, proven by a DNS record and renewed by AWS."""

from typing import TypedDict

import pulumi
import pulumi_aws as aws

PROOF_TTL_SECONDS = 300


class CertificateArgs(TypedDict):
    hostname: str
    """Full name that clients use: the certificate is for this one alone."""
    zone_id: str
    """The Route 53 hosted zone, public, that holds the name."""


class Certificate(pulumi.ComponentResource):
    """An ACM certificate. Whoever waits for its ARN waits until it is issued."""

    certificate_arn: pulumi.Output[str]
    """ARN of the certificate, known once ACM has issued it."""

    def __init__(self, name: str, args: CertificateArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("penstock:index:Certificate", name, None, opts)
        child = pulumi.ResourceOptions(parent=self)
        certificate = aws.acm.Certificate(
            name,
            domain_name=args["hostname"],
            validation_method="DNS",
            key_algorithm="EC_prime256v1",
            opts=child,
        )
        asked = certificate.domain_validation_options
        # The record stays: ACM reads it again for each renewal.
        proof = aws.route53.Record(
            f"{name}-proof",
            zone_id=args["zone_id"],
            name=asked.apply(lambda options: options[0].resource_record_name or ""),
            type=asked.apply(lambda options: options[0].resource_record_type or ""),
            ttl=PROOF_TTL_SECONDS,
            records=[asked.apply(lambda options: options[0].resource_record_value or "")],
            # Two stacks with names in common ask for the same record, with the same content.
            allow_overwrite=True,
            opts=child,
        )
        issued = aws.acm.CertificateValidation(
            f"{name}-issued",
            certificate_arn=certificate.arn,
            validation_record_fqdns=[proof.fqdn],
            opts=child,
        )
        self.certificate_arn = issued.certificate_arn
        self.register_outputs({"certificateArn": self.certificate_arn})
