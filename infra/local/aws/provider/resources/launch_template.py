"""aws:ec2 launch template: every change is a new version of it."""

from __future__ import annotations

from infra.local.aws.provider.resources.ec2_tags import EC2_TAGS
from infra.local.aws.provider.row import Naming, Row, Scope, arn_output, deleting, dig, tags_of
from infra.local.aws.provider.schema import (
    block,
    blocks,
    flag,
    flag_text,
    from_api,
    integer,
    mapping,
    out,
    pascal,
    text,
    text_set,
)
from infra.local.aws.provider.values import Values

EBS = {
    "deleteOnTermination": flag_text(),
    "encrypted": flag_text(),
    "iops": integer(computed=True),
    "kmsKeyId": text(),
    "snapshotId": text(),
    "throughput": integer(computed=True),
    "volumeSize": integer(computed=True),
    "volumeType": text(computed=True),
}
INTERFACE = {
    "associatePublicIpAddress": flag_text(),
    "deleteOnTermination": flag_text(),
    "description": text(),
    "deviceIndex": integer(),
    "interfaceType": text(),
    "ipv4AddressCount": integer("SecondaryPrivateIpAddressCount"),
    "ipv6AddressCount": integer(),
    "networkCardIndex": integer(),
    "networkInterfaceId": text(),
    "privateIpAddress": text(),
    "securityGroups": text_set("Groups"),
    "subnetId": text(),
}
DATA = {
    "blockDeviceMappings": blocks(
        {"deviceName": text(), "ebs": block(EBS), "noDevice": text(), "virtualName": text()},
    ),
    "capacityReservationSpecification": block(
        {
            "capacityReservationPreference": text(),
            "capacityReservationTarget": block(
                {"capacityReservationId": text(), "capacityReservationResourceGroupArn": text()}
            ),
        }
    ),
    "cpuOptions": block({"coreCount": integer(), "threadsPerCore": integer(), "amdSevSnp": text()}),
    "creditSpecification": block({"cpuCredits": text()}),
    "disableApiStop": flag(default=False),
    "disableApiTermination": flag(default=False),
    "ebsOptimized": flag_text(),
    "enclaveOptions": block({"enabled": flag()}),
    "hibernationOptions": block({"configured": flag(required=True)}),
    "iamInstanceProfile": block({"arn": text(), "name": text()}),
    "imageId": text(),
    "instanceInitiatedShutdownBehavior": text(),
    "instanceMarketOptions": block(
        {
            "marketType": text(),
            "spotOptions": block(
                {
                    "blockDurationMinutes": integer(),
                    "instanceInterruptionBehavior": text(),
                    "maxPrice": text(),
                    "spotInstanceType": text(),
                    "validUntil": text(),
                }
            ),
        }
    ),
    "instanceType": text(),
    "kernelId": text(),
    "keyName": text(),
    "maintenanceOptions": block({"autoRecovery": text()}),
    "metadataOptions": block(
        {
            "httpEndpoint": text(computed=True),
            "httpProtocolIpv6": text(computed=True),
            "httpPutResponseHopLimit": integer(computed=True),
            "httpTokens": text(computed=True),
            "instanceMetadataTags": text(computed=True),
        },
        computed=True,
    ),
    "monitoring": block({"enabled": flag()}),
    "networkInterfaces": blocks(INTERFACE),
    "placement": block(
        {
            "affinity": text(),
            "availabilityZone": text(),
            "groupName": text(),
            "hostId": text(),
            "partitionNumber": integer(),
            "spreadDomain": text(),
            "tenancy": text(),
        }
    ),
    "privateDnsNameOptions": block(
        {
            "enableResourceNameDnsARecord": flag(),
            "enableResourceNameDnsAaaaRecord": flag("EnableResourceNameDnsAAAARecord"),
            "hostnameType": text(),
        }
    ),
    "ramDiskId": text(),
    "securityGroupNames": text_set("SecurityGroups"),
    "tagSpecifications": blocks({"resourceType": text(), "tags": mapping()}, False),
    "userData": text(),
    "vpcSecurityGroupIds": text_set("SecurityGroupIds"),
}


def _data(scope: Scope, values: Values) -> Values:
    data = scope.request(values, DATA)
    if values.get("tagSpecifications"):
        data["TagSpecifications"] = [
            {"ResourceType": it["resourceType"], "Tags": EC2_TAGS.encode(it.get("tags") or {})}
            for it in values["tagSpecifications"]
        ]
    return data


def _create(scope: Scope, values: Values) -> str:
    made = scope.api.create_launch_template(
        LaunchTemplateName=values["name"],
        LaunchTemplateData=_data(scope, values),
        **({"VersionDescription": values["description"]} if values.get("description") else {}),
        **tags_of(scope, values, resource_type="launch-template"),
    )
    return made["LaunchTemplate"]["LaunchTemplateId"]


def _find(scope: Scope, template: str, state: Values) -> Values | None:
    return dig(scope.api.describe_launch_templates(LaunchTemplateIds=[template]), "LaunchTemplates.0")


def _latest(scope: Scope, template: str) -> Values:
    listed = scope.api.describe_launch_template_versions(LaunchTemplateId=template, Versions=["$Latest"])
    return listed["LaunchTemplateVersions"][0]


def _outputs(scope: Scope, template: str, raw: Values, state: Values) -> Values:
    version = _latest(scope, template)
    data = version.get("LaunchTemplateData", {})
    tags = [
        {"resourceType": it["ResourceType"], "tags": EC2_TAGS.decode(it.get("Tags"))}
        for it in data.get("TagSpecifications", [])
    ]
    return {
        **from_api(DATA, data, pascal),
        "tagSpecifications": tags or None,
        "description": version.get("VersionDescription"),
        "arn": scope.arn("ec2", f"launch-template/{template}"),
    }


def _update(scope: Scope, template: str, values: Values, changed: frozenset[str]) -> None:
    default = values.get("defaultVersion") if "defaultVersion" in changed else None
    if changed & {*DATA, "description"}:
        made = scope.api.create_launch_template_version(
            LaunchTemplateId=template,
            LaunchTemplateData=_data(scope, values),
            VersionDescription=values.get("description", ""),
        )
        if values.get("updateDefaultVersion"):
            default = made["LaunchTemplateVersion"]["VersionNumber"]
    elif "updateDefaultVersion" in changed and values.get("updateDefaultVersion"):
        default = _latest(scope, template)["VersionNumber"]
    if default:
        scope.api.modify_launch_template(LaunchTemplateId=template, DefaultVersion=str(default))


LAUNCH_TEMPLATE = Row(
    kind="aws:ec2/launchTemplate:LaunchTemplate",
    service="ec2",
    fields={
        "name": text("LaunchTemplateName", replace=True),
        "namePrefix": text(False, replace=True, write_only=True),
        "description": text(False),
        "defaultVersion": integer("DefaultVersionNumber", computed=True),
        "updateDefaultVersion": flag(False, write_only=True),
        **DATA,
        "arn": arn_output(),
        "latestVersion": out(integer("LatestVersionNumber")),
    },
    create=_create,
    find=_find,
    derive=_outputs,
    update=_update,
    delete=deleting("delete_launch_template", lambda template: {"LaunchTemplateId": template}),
    tagging=EC2_TAGS,
    naming=Naming(limit=125, prefix_field="namePrefix"),
    renewed={"latestVersion": tuple(sorted({*DATA, "description"})), "defaultVersion": ()},
)

ROWS = (LAUNCH_TEMPLATE,)
