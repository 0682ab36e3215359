from infra.settings import reference


def test_the_settings_page_is_current():
    assert reference.PAGE.read_text() == reference.page(), "run `make docs` and commit docs/settings.md"


def test_the_settings_page_has_keys_of_every_depth():
    page = reference.page()
    for path in ("penstock:release.green.weight", "penstock:models[].maxModelLen", "penstock:data.cache.replicas"):
        assert f"| `{path}` |" in page
