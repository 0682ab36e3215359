"""What the page is made of, in a real browser: hostile names, labels, focus, contrast, width, weight and memory."""

from __future__ import annotations

from typing import Any

import pytest
from playwright.async_api import Page, expect

from app.gateway.console import stream
from app.gateway.database.settings import Database
from tests.console.conftest import DESK, PHONE, Open, Seen, console_on, picture
from tests.gateway.harness import CHAT, Engine, fails, make_config
from tests.gateway.key_cases import admin, make_key
from tests.gateway.real_postgres import execute
from tests.gateway.test_console_release import DRILL, told

pytestmark = pytest.mark.browser

VIEWS = ("Live", "Release", "Fleet", "Spend", "Keys", "Jobs", "Drills", "Errors")
EVIL = "<img src=x onerror=document.title='owned'>\"'><script>document.title='owned'</script>"
MOST_BYTES = 25_000
"""Of the whole page as it travels, packed."""
MOST_GROWTH_BYTES, MOST_GROWTH_NODES = 320 * 1024, 100
"""Of an open page, while rows and points come and go. The browser's own caches make 300 KiB of it, and go again."""
MOST_POINTS = 300

# Names of controls that have none, ids that are there twice, headings that leave out a level.
WRONG = """() => {
  const seen = [...document.querySelectorAll('button, input, a, [role=region], svg[role=img], meter, table')]
    .filter((one) => one.checkVisibility());
  const label = (one) => one.getAttribute('aria-label') || one.textContent || one.labels?.[0]?.textContent || '';
  const named = (one) => label(one).trim();
  const nameless = seen.filter((one) => !named(one)).map((one) => one.outerHTML.slice(0, 80));
  const ids = [...document.querySelectorAll('[id]')].map((one) => one.id);
  const heads = [...document.querySelectorAll('h1, h2, h3')].filter((one) => one.checkVisibility())
    .map((one) => Number(one.tagName[1]));
  return {
    nameless,
    twice: ids.filter((id, place) => ids.indexOf(id) !== place),
    leaps: heads.filter((level, place) => place && level > heads[place - 1] + 1),
    wide: Math.max(0, document.documentElement.scrollWidth - innerWidth),
  };
}"""
# WCAG 2.2: the contrast of each text with what is painted below it.
PALE = """() => {
  const rgb = (text) => text.match(/[\\d.]+/g).map(Number);
  const light = ([r, g, b]) => [r, g, b].map((one) => one / 255)
    .map((one) => (one <= 0.04045 ? one / 12.92 : ((one + 0.055) / 1.055) ** 2.4))
    .reduce((sum, one, place) => sum + one * [0.2126, 0.7152, 0.0722][place], 0);
  const below = (one) => {
    for (; one; one = one.parentElement) {
      const found = rgb(getComputedStyle(one).backgroundColor);
      if (found.length === 3 || found[3] > 0) return found;
    }
    return [255, 255, 255];
  };
  const pale = [];
  for (const one of document.querySelectorAll('body *')) {
    const own = [...one.childNodes].some((node) => node.nodeType === 3 && node.textContent.trim());
    if (!own || !one.checkVisibility() || one.closest('.skip') || one.matches(':disabled')) continue;
    const [a, b] = [light(rgb(getComputedStyle(one).color)), light(below(one))];
    const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    if (ratio < 4.5) pale.push(`${ratio.toFixed(2)} ${one.tagName} ${one.textContent.trim().slice(0, 30)}`);
  }
  return pale;
}"""


async def furnish(gateway: Any) -> None:
    """Something in every view."""
    await make_key(gateway, name="search team", tenant="acme", models=["tiny"])
    await admin(gateway, "POST", "tenants", {"name": "acme", "limits": {"usd_per_day": 5}})
    await admin(gateway, "PUT", "release", told())
    await admin(gateway, "PUT", "drills/engine-crash", DRILL)
    for _ in range(3):
        await gateway.ask(CHAT)


async def test_hostile_names_stay_text_in_every_view(empty_database: Database, open_page: Open):
    evil_model = make_config().models[0].model_dump()
    async with console_on(empty_database, Engine(fails(500, EVIL)), pod=EVIL) as gateway:
        assert evil_model["name"] == "tiny"
        await make_key(gateway, name=EVIL, tenant="acme", models=["tiny"])
        await admin(gateway, "PUT", "release", told(doing=EVIL, reason=EVIL, release=EVIL[:90]))
        await admin(gateway, "PUT", "drills/x", DRILL | {"done": EVIL, "missed": [EVIL]})
        await execute(  # what only somebody with the database could write
            empty_database,
            "INSERT INTO penstock_keys.tenants (name, version) VALUES ($$<img src=x onerror=alert(1)>$$, 0)",
        )
        await gateway.ask(CHAT)
        seen = await open_page(gateway)
        dialogs: list[str] = []
        seen.page.on("dialog", lambda dialog: dialogs.append(dialog.message))
        await seen.sign_in()
        for name in VIEWS:
            await seen.view(name)
            assert await seen.page.locator("img, script:not([src]), iframe").count() == 0
        await seen.view("Keys")
        await expect(seen.page.get_by_role("cell", name=EVIL, exact=True)).to_be_visible()
        await expect(seen.page.get_by_role("cell", name="<img src=x onerror=alert(1)>", exact=True)).to_be_visible()
        assert "owned" not in await seen.page.title()
        assert dialogs == []


async def _look(seen: Seen) -> None:
    found = await seen.page.evaluate(WRONG)
    assert found == {"nameless": [], "twice": [], "leaps": [], "wide": 0}
    assert await seen.page.evaluate(PALE) == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", [PHONE, DESK], ids=["phone", "desk"])
async def test_every_view_is_named_legible_and_as_wide_as_the_screen(
    empty_database: Database, open_page: Open, scheme: str, size: dict[str, int]
):
    async with console_on(empty_database) as gateway:
        await furnish(gateway)
        seen = await open_page(gateway, viewport=size, color_scheme=scheme)
        await seen.page.goto(f"{seen.url}/console")
        await seen.page.get_by_label("Admin key").wait_for()
        await _look(seen)
        await seen.sign_in()
        await expect(seen.page.get_by_role("region", name="By colour")).to_be_visible()
        for name in VIEWS:
            await seen.view(name)
            await _look(seen)
        await seen.view("Keys")
        await expect(seen.page.get_by_role("cell", name="search team", exact=True)).to_be_visible()
        await seen.page.get_by_role("button", name="Revoke search team").click()
        await _look(seen)
        if size == PHONE and scheme == "dark":
            await seen.page.keyboard.press("Escape")
            await picture(seen.page, "console-phone")


async def test_where_no_release_was_told_of_there_is_no_picture_of_one(empty_database: Database, open_page: Open):
    async with console_on(empty_database) as gateway:
        seen = await open_page(gateway)
        await seen.sign_in()
        for name in VIEWS:
            await seen.view(name)
            await expect(seen.page.locator("svg.weights")).to_be_hidden()
            await _look(seen)


async def test_all_of_it_can_be_done_by_keyboard(empty_database: Database, open_page: Open):
    async with console_on(empty_database) as gateway:
        await furnish(gateway)
        seen = await open_page(gateway)
        page = seen.page
        await seen.sign_in()
        assert await focused(page) == "Live", "who signed in is at the view's title"
        assert await page.evaluate("document.querySelector('a, button, input') === document.querySelector('.skip')")
        await page.locator(".skip").focus()
        order = [await focused(page)]
        for _ in range(9):
            await page.keyboard.press("Tab")
            order.append(await focused(page))
        assert order == ["Skip to content", "Sign out", *VIEWS]
        await page.get_by_role("link", name="Keys").focus()
        await page.keyboard.press("Enter")
        await expect(page.get_by_role("heading", name="Keys", level=2)).to_be_focused()
        await expect(page.get_by_role("cell", name="search team", exact=True)).to_be_visible()
        await page.get_by_role("button", name="Revoke search team").focus()
        await page.keyboard.press("Enter")
        await expect(page.get_by_role("button", name="Cancel")).to_be_focused()
        await page.keyboard.press("Escape")
        await expect(page.get_by_role("dialog")).to_be_hidden()
        await expect(page.get_by_role("button", name="Revoke search team")).to_be_focused()
        assert await page.evaluate("getComputedStyle(document.activeElement).outlineWidth") == "3px"


async def focused(page: Page) -> str:
    return await page.evaluate("document.activeElement.textContent.trim()")


async def test_a_step_of_a_release_is_shown_and_asked_on_and_the_answer_comes_back(
    empty_database: Database, open_page: Open
):
    async with console_on(empty_database) as gateway:
        seen = await open_page(gateway)
        page = seen.page
        await seen.sign_in()
        await seen.view("Release")
        await expect(page.get_by_text("No runner attends")).to_be_visible()
        await expect(page.get_by_text("penstock release attend --stack STACK")).to_be_visible()
        await expect(page.get_by_role("button", name="Roll back")).to_be_disabled()
        await admin(gateway, "PUT", "release", told())
        await expect(page.locator("#release-state")).to_have_text("The release of green is under way.")
        await page.get_by_role("button", name="Promote now").click()
        await page.get_by_role("dialog").get_by_role("button", name="Promote now").click()
        await expect(page.get_by_role("button", name="Promote now: asked")).to_be_disabled()
        heard = (await admin(gateway, "PUT", "release", told())).json["wish"]
        assert (heard["kind"], heard["at"]) == ("promote", "25 %")
        done = [{"wish": heard["id"], "outcome": "green passed 25 %"}]
        await admin(gateway, "PUT", "release", told(at="100 %", passed=2, done=done))
        await expect(page.get_by_role("cell", name="green passed 25 %")).to_be_visible()


async def test_a_gateway_that_drains_is_left_for_another(empty_database: Database, open_page: Open):
    async with console_on(empty_database) as gateway:
        seen = await open_page(gateway)
        await seen.sign_in()
        assert gateway.service.console is not None
        viewers = list(gateway.service.console.broadcast._viewers)
        viewers[0].end(b'event: bye\ndata: {"reason": "drain"}\n\n')
        await expect(seen.page.locator("#connection")).to_have_text("Connecting again ...")
        await expect(seen.page.locator("#connection")).to_have_text("Live, signed in as ops")


async def test_the_page_is_small(empty_database: Database, open_page: Open, capsys: pytest.CaptureFixture[str]):
    async with console_on(empty_database) as gateway:
        seen = await open_page(gateway)
        await seen.page.goto(f"{seen.url}/console")
        await seen.page.get_by_label("Admin key").wait_for()
        paint = await seen.page.evaluate("performance.getEntriesByName('first-contentful-paint')[0].startTime")
        sizes = await seen.page.evaluate(
            "[performance.getEntriesByType('navigation')[0], ...performance.getEntriesByType('resource')]"
            ".map((one) => one.transferSize)"
        )
        with capsys.disabled():
            print(f"\nconsole: first paint {paint:.0f} ms, {sum(sizes)} bytes in {len(sizes)} requests")
        assert sum(sizes) < MOST_BYTES


async def test_a_page_that_stays_open_holds_no_more_however_many_events_come(
    empty_database: Database, open_page: Open, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    """The stream runs forty times as fast as it does for operators, until its ring is full and long after."""
    monkeypatch.setattr(stream, "PERIOD_SECONDS", 0.025)
    monkeypatch.setattr(stream, "REST_SECONDS", 0.025)
    monkeypatch.setattr(stream, "SEND_SECONDS", 60.0)
    told: list[int] = [0]

    async with console_on(empty_database, Engine(fails(500))) as gateway:
        assert gateway.service.console is not None
        broadcast = gateway.service.console.broadcast
        tell = broadcast._tell
        monkeypatch.setattr(broadcast, "_tell", lambda data: (told.__setitem__(0, told[0] + 1), tell(data)))
        seen = await open_page(gateway)
        tools = await seen.context.new_cdp_session(seen.page)
        await tools.send("Performance.enable")
        await seen.sign_in()

        async def held() -> dict[str, float]:
            await tools.send("HeapProfiler.collectGarbage")
            return {one["name"]: one["value"] for one in (await tools.send("Performance.getMetrics"))["metrics"]}

        async def points() -> int:
            return await seen.page.evaluate("import('/console/live.js').then((live) => live.kept())")

        async def after(events: int) -> dict[str, float]:
            until = told[0] + events
            while told[0] < until or await points() < MOST_POINTS:
                await gateway.ask(CHAT)  # fails, so that the list of errors turns over as well
                await seen.page.wait_for_timeout(20)
            return await held()

        first, *later = [await after(events) for events in (0, 300, 300, 300)]
        last = later[-1]
        assert await points() == len(broadcast._fleet.points) == MOST_POINTS
    with capsys.disabled():
        heaps = ", ".join(f"{one['JSHeapUsedSize'] / 1024:.0f}" for one in (first, *later))
        print(f"\nconsole: heap {heaps} KiB, nodes {first['Nodes']:.0f}, {last['Nodes']:.0f}")
    assert min(one["JSHeapUsedSize"] for one in later) - first["JSHeapUsedSize"] < MOST_GROWTH_BYTES
    assert last["Nodes"] - first["Nodes"] < MOST_GROWTH_NODES
    assert last["JSEventListeners"] <= first["JSEventListeners"]
