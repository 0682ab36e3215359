"""The reference that `make docs` writes from the program: policies, components, API."""

from pathlib import Path

import pytest

from app.gateway.admit import ROUTES
from app.gateway.keys.problems import PATHS
from app.jobs.api import ROOMS
from app.retrieval.api import PREFIX
from components.package import COMPONENTS, PROVIDERS
from infra.ops import reference_pages
from infra.policy.pack import titles
from infra.policy.rules import RULES, STACK_RULES
from tests.docs.reading import name_of

PAGES = reference_pages.pages()


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_a_generated_page_is_current(page: Path):
    assert page.read_text() == PAGES[page], "run `make docs`, and review the difference"


@pytest.mark.parametrize("rule", [*RULES, *STACK_RULES], ids=lambda rule: rule.__name__)
def test_each_rule_says_in_a_sentence_what_it_asks(rule):
    name, says = titles(rule)
    assert says.endswith("."), "Pulumi shows it beside each breach"
    assert f"| `{name}` | {says} |" in PAGES[reference_pages.DOCS / "policies.md"]


@pytest.mark.parametrize("component", COMPONENTS, ids=lambda component: component.__name__)
def test_each_component_is_on_its_page(component):
    _, _, text = PAGES[reference_pages.DOCS / "components.md"].partition(f"\n## {component.__name__}\n\n")
    needs = " and ".join(f"`{each}`" for each in PROVIDERS[component]) or "none"
    assert text.splitlines()[0] == f"Providers: {needs}."


def test_each_input_output_and_property_on_the_components_page_has_a_meaning():
    rows = [line for line in PAGES[reference_pages.DOCS / "components.md"].splitlines() if line.startswith("| `")]
    assert len(rows) > 300, "the page has no rows to look at"
    empty = [row for row in rows if row.endswith("|  |")]
    assert empty == [], "whoever uses the package from another language reads nothing but this: a docstring is missing"


def test_each_path_that_a_gateway_serves_is_on_its_page():
    page = PAGES[reference_pages.DOCS / "api.md"]
    paths = {path.decode() for path in ROUTES} | set(PATHS.values()) | {f"/v1/{room}" for room in ROOMS}
    paths |= {PREFIX.rstrip("/"), "/admin/v1/keys", "/admin/v1/release/wishes"}
    assert [path for path in sorted(paths) if f"`{path}`" not in page and f" {path}`" not in page] == []


def test_a_page_without_its_marks_is_refused():
    with pytest.raises(ValueError, match="no marks"):
        reference_pages.policies("# Policies\n")
