"""Trail and access logs in the whole program."""

from __future__ import annotations

from collections.abc import Callable

from infra.rehearsal import Rehearsal

Rehearsed = Callable[..., Rehearsal]
TRAIL = "aws:cloudtrail/trail:Trail"
ENCRYPTION = "aws:s3/bucketServerSideEncryptionConfiguration:BucketServerSideEncryptionConfiguration"


def test_the_trail_covers_every_region_is_validated_and_encrypted_in_a_bucket_that_lets_it_write(
    stack: str, rehearsed: Rehearsed
):
    rehearsal = rehearsed(stack)
    trail = rehearsal.one(TRAIL, "trail")
    assert trail.inputs["isMultiRegionTrail"] is trail.inputs["enableLogFileValidation"] is True
    (rule,) = rehearsal.one(ENCRYPTION, "trail").inputs["rules"]
    assert rule["applyServerSideEncryptionByDefault"]["kmsMasterKeyId"] == trail.inputs["kmsKeyId"]
    policy = rehearsal.one("aws:s3/bucketPolicy:BucketPolicy", "trail")
    assert policy.urn in trail.dependencies
    assert f"trail/penstock-{stack}" in policy.inputs["policy"]


def test_an_organisation_with_a_trail_of_its_own_needs_no_second(rehearsed_with: Callable[..., Rehearsal]):
    def edit(config: dict) -> None:
        config["penstock:audit"]["trail"] = False

    rehearsal = rehearsed_with("prod", edit)
    assert rehearsal.of_type(TRAIL) == []
    assert "trail" not in {each.name for each in rehearsal.of_type("aws:s3/bucket:Bucket")}


def test_files_go_when_their_time_is_over(rehearsed: Rehearsed):
    lifecycles = rehearsed("prod").of_type("aws:s3/bucketLifecycleConfiguration:BucketLifecycleConfiguration")
    kept = {each.name: each.inputs["rules"][0].get("expiration", {}).get("days") for each in lifecycles}
    assert (kept["trail"], kept["access-logs"]) == (400, 90)


def test_requests_to_the_load_balancer_and_to_the_weights_are_logged_once_the_bucket_takes_them(
    stack: str, rehearsed: Rehearsed
):
    rehearsal = rehearsed(stack)
    policy = rehearsal.one("aws:s3/bucketPolicy:BucketPolicy", "access-logs")
    balancer = rehearsal.one("aws:lb/loadBalancer:LoadBalancer", "edge")
    logging = rehearsal.one("aws:s3/bucketLogging:BucketLogging", "weights")
    assert balancer.inputs["accessLogs"]["enabled"] is True
    assert balancer.inputs["accessLogs"]["prefix"] == "edge"
    assert logging.inputs["targetPrefix"] == "weights/"
    assert policy.urn in balancer.dependencies & logging.dependencies
