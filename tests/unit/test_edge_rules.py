"""Settings of the edge that do not fit each other."""

from __future__ import annotations

from tests.unit.settings_cases import problems, put


def zone(values: dict) -> None:
    values["edge"]["hostedZoneId"] = "Z0123456789ABC"


def test_a_zone_without_a_name_is_refused():
    assert "edge.hostedZoneId is given" in problems(zone)["edge.hostname"]


def test_a_zone_takes_the_place_of_a_certificate_in_a_protected_stack():
    def edit(values: dict) -> None:
        zone(values)
        values["edge"]["certificateArn"] = None

    assert problems(edit, "prod") == {}
    assert "edge.hostedZoneId" in problems(put("edge.certificateArn", None), "prod")["edge.certificateArn"]


def test_a_certificate_on_the_port_of_plain_http_is_refused():
    assert problems(put("edge.port", 80), "prod")["edge.port"].startswith("80 is not allowed")


def test_a_limit_below_what_aws_takes_is_refused():
    assert "10" in problems(put("edge.requestsPerFiveMinutesPerIp", 9))["edge.requestsPerFiveMinutesPerIp"]


def test_the_admin_api_is_for_named_ranges_and_over_tls_in_a_protected_stack():
    assert "named ranges" in problems(put("edge.adminCidrs", ["0.0.0.0/0"]))["edge.adminCidrs[0]"]
    assert problems(put("edge.adminCidrs", []), "prod") == {}
    assert problems(put("edge.adminCidrs", ["198.51.100.0/24"]), "prod") == {}

    def plain(values: dict) -> None:
        values["edge"] |= {"adminCidrs": ["198.51.100.0/24"], "certificateArn": None}

    assert "plain text" in problems(plain, "prod")["edge.adminCidrs"]
