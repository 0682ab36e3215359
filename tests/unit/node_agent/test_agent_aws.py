"""The agent's own AWS client: signatures as AWS's SDK makes them, replies read right."""

import datetime as dt

import pytest
from aiohttp import web
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from infra.local.kubernetes.agent.aws import Aws, AwsError, Hardware, sign

NOW = dt.datetime(2026, 1, 31, 12, 0, 0, tzinfo=dt.UTC)


@pytest.mark.parametrize(
    ("method", "path", "body", "service"),
    [
        ("GET", "/clusters", b"", "eks"),
        ("GET", "/clusters/my%20cluster/node-groups?nextToken=a%2Fb", b"", "eks"),
        ("POST", "/", b"Action=DescribeSubnets&Version=2016-11-15", "ec2"),
    ],
)
def test_a_request_is_signed_as_the_sdk_signs_it(monkeypatch, method, path, body, service):
    url = f"http://127.9.0.1:4566{path}"
    headers = {"Content-Type": "application/x-www-form-urlencoded; charset=utf-8"} if body else {}
    monkeypatch.setattr("botocore.auth.get_current_datetime", lambda remove_tzinfo=True: NOW.replace(tzinfo=None))
    request = AWSRequest(method=method, url=url, data=body, headers=dict(headers))
    SigV4Auth(Credentials("id", "secret"), service, "eu-central-1").add_auth(request)
    signed = sign(
        method=method,
        url=url,
        headers=headers,
        body=body,
        service=service,
        region="eu-central-1",
        key=("id", "secret"),
        now=NOW,
    )
    assert signed["Authorization"] == request.headers["Authorization"]


REPLIES = {
    "DescribeSubnets": "<R xmlns='x'><subnetSet><item><subnetId>s-1</subnetId>"
    "<availabilityZone>eu-central-1a</availabilityZone></item></subnetSet></R>",
    "DescribeInstanceTypes": "<R xmlns='x'><instanceTypeSet><item><instanceType>g6.xlarge</instanceType>"
    "<vCpuInfo><defaultVCpus>4</defaultVCpus></vCpuInfo><memoryInfo><sizeInMiB>16384</sizeInMiB></memoryInfo>"
    "<gpuInfo><gpus><item><count>1</count></item></gpus></gpuInfo></item></instanceTypeSet></R>",
    "DescribeTargetHealth": "<R xmlns='x'><DescribeTargetHealthResult><TargetHealthDescriptions><member>"
    "<Target><Id>127.9.16.2</Id><Port>8080</Port></Target><TargetHealth><State>healthy</State></TargetHealth>"
    "</member></TargetHealthDescriptions></DescribeTargetHealthResult></R>",
}


@pytest.fixture
async def cloud():
    forms = []

    async def query(request):
        form = dict(await request.post())
        forms.append(form)
        if form["Action"] in REPLIES:
            return web.Response(text=REPLIES[form["Action"]], content_type="text/xml")
        error = "<R xmlns='x'><Error><Code>TargetGroupNotFound</Code><Message>none</Message></Error></R>"
        return web.Response(status=400, text=error, content_type="text/xml")

    async def clusters(request):
        if request.query.get("nextToken"):
            return web.json_response({"clusters": ["two"], "nextToken": None})
        return web.json_response({"clusters": ["one"], "nextToken": "next"})

    application = web.Application()
    application.router.add_post("/", query)
    application.router.add_get("/clusters", clusters)
    runner = web.AppRunner(application)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    client = Aws(f"http://127.0.0.1:{runner.addresses[0][1]}", "eu-central-1", ("id", "secret"), timeout_seconds=2)
    yield client, forms
    await client.close()
    await runner.cleanup()


async def test_replies_are_read(cloud):
    client, forms = cloud
    assert await client.clusters() == ["one", "two"], "every page is read"
    assert await client.subnet_zones(["s-1"]) == {"s-1": "eu-central-1a"}
    assert forms[-1]["SubnetId.1"] == "s-1"
    assert await client.hardware(["g6.xlarge"]) == {"g6.xlarge": Hardware(4, 16384, 1)}
    assert await client.target_health("arn") == {("127.9.16.2", 8080): "healthy"}


async def test_a_refusal_carries_the_code_of_aws(cloud):
    client, forms = cloud
    with pytest.raises(AwsError, match="none") as error:
        await client.register("arn", [("127.9.16.2", 8080)])
    assert error.value.code == "TargetGroupNotFound"
    assert forms[-1]["Targets.member.1.Id"] == "127.9.16.2"


async def test_a_cloud_that_is_away_is_an_error_of_the_same_kind(free_port):
    client = Aws(f"http://127.0.0.1:{free_port}", "eu-central-1", ("id", "secret"), timeout_seconds=1)
    with pytest.raises(AwsError):
        await client.clusters()
    await client.close()
