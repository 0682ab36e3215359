"""aws:acm: a certificate that AWS issues, and the wait for it."""

from __future__ import annotations

from infra.local.aws.provider.row import NotDoneError, Row, Scope, Tagging, dig
from infra.local.aws.provider.schema import block_set, out, text, text_set
from infra.local.aws.provider.values import Values

ACM_TAGS = Tagging(
    put="add_tags_to_certificate",
    remove="remove_tags_from_certificate",
    subject="CertificateArn",
    keys="Tags",
    keys_as_tags=True,
    listing="list_tags_for_certificate",
    listed="Tags",
)
FAILED = frozenset({"FAILED", "VALIDATION_TIMED_OUT", "REVOKED", "EXPIRED"})


def _certificate(scope: Scope, arn: str) -> Values:
    return scope.api.describe_certificate(CertificateArn=arn)["Certificate"]


def _options(certificate: Values) -> list[Values]:
    return sorted(certificate.get("DomainValidationOptions", []), key=lambda it: it["DomainName"])


def _create(scope: Scope, values: Values) -> str:
    tags = {"Tags": ACM_TAGS.encode(values["tagsAll"])} if values.get("tagsAll") else {}
    return scope.api.request_certificate(**scope.request(values), **tags)["CertificateArn"]


def _wait_for_records(scope: Scope, arn: str, values: Values) -> None:
    def named() -> bool:
        return all(it.get("ResourceRecord") for it in _options(_certificate(scope, arn)))

    scope.wait(f"certificate {arn}: records to prove the domain by", named)


def _outputs(scope: Scope, arn: str, raw: Values, state: Values) -> Values:
    return {
        "validationMethod": dig(_options(raw), "0.ValidationMethod") if _options(raw) else None,
        "domainValidationOptions": [
            {
                "domainName": it["DomainName"],
                "resourceRecordName": dig(it, "ResourceRecord.Name"),
                "resourceRecordType": dig(it, "ResourceRecord.Type"),
                "resourceRecordValue": dig(it, "ResourceRecord.Value"),
            }
            for it in _options(raw)
        ],
    }


CERTIFICATE = Row(
    kind="aws:acm/certificate:Certificate",
    service="acm",
    fields={
        "domainName": text(required=True, replace=True),
        "subjectAlternativeNames": text_set(computed=True, replace=True),
        "validationMethod": text(reply=False, required=True, replace=True),
        "keyAlgorithm": text(reply=False, replace=True, write_only=True),
        "arn": out(text("CertificateArn")),
        "domainValidationOptions": out(
            block_set(
                {
                    "domainName": text(),
                    "resourceRecordName": text(),
                    "resourceRecordType": text(),
                    "resourceRecordValue": text(),
                },
                False,
            )
        ),
    },
    create=_create,
    settle=_wait_for_records,
    find=lambda scope, arn, state: _certificate(scope, arn),
    derive=_outputs,
    delete=lambda scope, arn, state: scope.api.delete_certificate(CertificateArn=arn),
    tagging=ACM_TAGS,
)


def _wait_for_issue(scope: Scope, validation: str, values: Values) -> None:
    arn = values["certificateArn"]

    def issued() -> bool:
        status = _certificate(scope, arn)["Status"]
        if status in FAILED:
            raise NotDoneError(f"certificate {arn}: {status}")
        return status == "ISSUED"

    scope.wait(f"certificate {arn} issued", issued)


def _find_issued(scope: Scope, validation: str, state: Values) -> Values | None:
    found = _certificate(scope, state["certificateArn"])
    return found if found["Status"] == "ISSUED" else None


VALIDATION = Row(
    kind="aws:acm/certificateValidation:CertificateValidation",
    service="acm",
    fields={
        "certificateArn": text(required=True, replace=True),
        "validationRecordFqdns": text_set(reply=False, replace=True, write_only=True),
    },
    create=lambda scope, values: values["certificateArn"],
    settle=_wait_for_issue,
    find=_find_issued,
    delete=lambda scope, validation, state: None,  # a wait leaves nothing behind
)

ROWS = (CERTIFICATE, VALIDATION)
