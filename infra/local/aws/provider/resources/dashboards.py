"""aws:cloudwatch dashboard."""

from __future__ import annotations

from infra.local.aws.provider.row import Row, Scope
from infra.local.aws.provider.schema import document, out, text
from infra.local.aws.provider.values import Values


def _put(scope: Scope, values: Values) -> str:
    scope.api.put_dashboard(DashboardName=values["dashboardName"], DashboardBody=values["dashboardBody"])
    return values["dashboardName"]


def _put_again(scope: Scope, dashboard: str, values: Values, changed: frozenset[str]) -> None:
    _put(scope, values)


DASHBOARD = Row(
    kind="aws:cloudwatch/dashboard:Dashboard",
    service="cloudwatch",
    regional=True,
    fields={
        "dashboardName": text(required=True, replace=True),
        "dashboardBody": document(required=True),
        "dashboardArn": out(text()),
    },
    create=_put,
    find=lambda scope, dashboard, state: scope.api.get_dashboard(DashboardName=dashboard),
    update=_put_again,
    delete=lambda scope, dashboard, state: scope.api.delete_dashboards(DashboardNames=[dashboard]),
)

ROWS = (DASHBOARD,)
