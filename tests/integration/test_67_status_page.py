"""Goal: the status page works in a real browser, asks for nothing from outside, and everybody can read it."""

import os
import time

import pytest

import browser as chromium
import processes
import weir as house

SHOTS = os.path.join(house.ROOT, "build", "shots")
DESKTOP, PHONE = (1240, 900), (360, 780)

# What a person can read: each text that is shown, against what lies behind it (WCAG 2.2, 1.4.3).
PALE_TEXTS = """
const channels = (c) => { const [r, g, b, a = 1] = c.match(/[\\d.]+/g).map(Number); return { rgb: [r, g, b], a }; };
const over = (top, bottom) => top.rgb.map((v, i) => v * top.a + bottom[i] * (1 - top.a));
const light = (rgb) => {
	const [r, g, b] = rgb.map((v) => v / 255).map((v) => (v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4));
	return 0.2126 * r + 0.7152 * g + 0.0722 * b;
};
const behind = (node) => {
	if (!node) return [255, 255, 255];
	const color = channels(getComputedStyle(node).backgroundColor);
	return color.a === 1 ? color.rgb : over(color, behind(node.parentElement));
};
const pale = [];
for (const node of document.querySelectorAll("body *")) {
	const text = [...node.childNodes].filter((n) => n.nodeType === 3).map((n) => n.data.trim()).join(" ").trim();
	if (!text || !node.checkVisibility() || ["SCRIPT", "STYLE", "NOSCRIPT"].includes(node.tagName)) continue;
	const back = behind(node);
	const [a, b] = [light(over(channels(getComputedStyle(node).color), back)), light(back)].sort((x, y) => y - x);
	const ratio = (a + 0.05) / (b + 0.05);
	if (ratio < 4.5) pale.push(`${node.tagName} ${text.slice(0, 40)} ${ratio.toFixed(2)}`);
}
return pale;
"""


@pytest.fixture(scope="module")
def browser():
    made = chromium.Browser()
    yield made
    made.stop()


@pytest.fixture
def page(browser, weir):
    """Opens the page on a screen, and waits until its charts have points."""

    def points():
        return browser.run("return page.series.rows.length >= 2 && page.charts.every((c) => c.data?.[0].length >= 2)")

    def open_on(size, scheme="light", **how):
        browser.look_like(*size, scheme, **how)
        browser.open(f"http://127.0.0.1:{weir.port}/status")
        browser.run("localStorage.clear()")
        processes.wait_until(points, "points in the charts")
        return browser

    return open_on


def some_traffic(weir):
    for i in range(30):
        weir.get(f"/api/v1/countries/{'PT' if i % 3 else 'ES'}")
    weir.post("/api/v1/events", {"type": "hello"}, key="status-page")


def background(browser):
    return browser.run("return getComputedStyle(document.body).backgroundColor")


# ---- It works ----------------------------------------------------------------


def test_it_loads_without_a_complaint_and_asks_only_its_own_server(weir, page):
    some_traffic(weir)
    browser = page(DESKTOP)
    asked = []

    def asked_on():
        asked.extend(browser.requests())
        return sum(url.endswith("?json") for url in asked) >= 2

    processes.wait_until(asked_on, "the page's next two questions")
    assert browser.complaints() == []
    assert {url.split("?")[0] for url in asked} == {f"http://127.0.0.1:{weir.port}/status"}
    assert sum("?json&full" in url for url in asked) == 1, "the history once, then what is new"


def test_a_newcomer_has_a_curve_at_once(weir, page):
    processes.wait_until(lambda: len(weir.get("/status?json&full").json()["history"]["rows"]) >= 5, "a history")
    browser = page(DESKTOP)
    assert browser.run("return page.charts[0].data[0].length") >= 5


def test_the_charts_are_drawn(weir, page):
    browser = page(DESKTOP)
    some_traffic(weir)
    processes.wait_until(
        lambda: browser.run("return page.charts[0].data[1].some((v) => v > 0)"), "the traffic in the first chart"
    )
    inked = """
        const canvas = document.querySelector(".chart canvas");
        const pixels = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data;
        const [r, g, b] = [0x2f, 0x6f, 0xde];
        let n = 0;
        for (let i = 0; i < pixels.length; i += 4)
            if (Math.abs(pixels[i] - r) < 8 && Math.abs(pixels[i + 1] - g) < 8 && Math.abs(pixels[i + 2] - b) < 8) n++;
        return n;
    """
    assert browser.run(inked) > 20, "pixels of the first curve's colour"


def test_it_shows_what_the_server_says(weir, page):
    some_traffic(weir)
    browser = page(DESKTOP)
    state = weir.get("/status?json").json()
    shown = browser.run("return document.body.innerText")
    for member in state["members"]:
        assert f"{member['kind']} {member['pid']}" in shown
    assert "country" in shown and "all well" in shown
    [reads] = state["databaseReads"]
    assert f"Reads at once, {reads['target']}" in shown and f"of {reads['limit']}" in shown
    browser.run("document.querySelectorAll('main > details').forEach((d) => { d.open = true; })")
    settings = browser.run("return document.getElementById('settings').innerText")
    assert "WEIR_STATE_DIR" in settings and weir.state in settings


def test_it_says_when_nobody_answers_and_goes_on_by_itself(make_weir, browser):
    weir = make_weir(atlas=True)
    browser.look_like(*DESKTOP)
    browser.open(f"http://127.0.0.1:{weir.port}/status")
    verdict = lambda: browser.run("return document.getElementById('verdict').textContent")  # noqa: E731
    processes.wait_until(lambda: verdict() == "all well", "the first answer")
    processes.stop(weir.serve)
    processes.wait_until(lambda: verdict() == "no answer", "the page to say it")
    weir.start_serve()
    weir.wait_healthy()
    processes.wait_until(lambda: verdict() == "all well", "the page to go on")
    assert browser.run("return document.body.classList.contains('deaf')") is False


def test_who_pauses_it_is_left_alone(page):
    browser = page(DESKTOP)
    browser.run("document.getElementById('pause').click()")
    time.sleep(1)  # one may be on its way
    browser.requests()
    time.sleep(2.5)
    assert browser.requests() == []
    assert browser.run("return document.getElementById('pause').ariaPressed") == "true"
    browser.run("document.getElementById('pause').click()")
    processes.wait_until(browser.requests, "the page to ask again")


# ---- It is safe ----------------------------------------------------------------


def test_its_policy_stops_what_is_not_its_own(weir, page):
    browser = page(DESKTOP)
    browser.run(
        """
        window.refused = [];
        document.addEventListener("securitypolicyviolation", (e) => window.refused.push(e.effectiveDirective));
        const script = document.createElement("script");
        script.textContent = "window.intruder = 1";
        const style = document.createElement("style");
        style.textContent = "body { display: none }";
        const picture = new Image();
        picture.src = "http://127.0.0.1:1/x.png";
        document.body.append(script, style, picture);
        fetch("http://127.0.0.1:1/").catch(() => {});
        """
    )
    want = {"script-src-elem", "style-src-elem", "img-src", "connect-src"}
    processes.wait_until(lambda: set(browser.run("return window.refused")) == want, "four refusals")
    assert browser.run("return window.intruder ?? null") is None
    assert browser.run("return getComputedStyle(document.body).display") == "block"


def test_what_the_server_says_is_never_markup(page):
    browser = page(DESKTOP)
    browser.run("page.paused = true")
    browser.run(
        """
        return ask("?json").then((s) => {
            const evil = "<img src=x><b id=evil>x</b>";
            s.alarms = [{ grave: true, text: evil }];
            s.consumer = { state: "stopped", reason: evil };
            s.breakers = [{ name: evil, state: "open", forMs: 1, admittedPct: 0, calls: 1, failures: 1, slow: 0, opened: 1 }];
            s.endpoints[0] = { ...s.endpoints[0], name: evil, requestsPerS: 1 };
            show(s);
        });
        """
    )
    assert browser.run("return document.getElementById('evil')") is None
    assert browser.run("return document.querySelectorAll('main img').length") == 0
    assert "<b id=evil>" in browser.run("return document.getElementById('alarms').textContent")
    assert browser.run("return document.getElementById('verdict').textContent") == "needs attention"


# ---- Everybody can read it -----------------------------------------------------


TROUBLE = """
return ask("?json").then((s) => {
    s.alarms = [{ grave: true, text: "the consumer has stopped: note-create: 42P01 relation \\"notes\\" does not exist" },
                { grave: false, text: "breaker redis-1 is half-open" }];
    s.consumer = { state: "stopped", pid: 1, reason: "note-create: 42P01 relation \\"notes\\" does not exist" };
    s.spool = { ...s.spool, waiting: 5231, oldestMs: 754000 };
    s.window = { ...s.window, errorsPerS: 2.4 };
    s.readConnections = { held: 31, limit: 50 };
    s.databaseReads = [{ target: "replica-1", running: 12, limit: 12, max: 50 }, { target: "replica-2.db.example.net", running: 3, limit: 50, max: 50 }];
    s.hosts = 3;
    s.forwarder = { state: "stalled", delivered: 1234567, restarts: 0,
        partitions: [{ topic: "api-mutations", partition: 0, committed: 1200, high: 6431, lag: 5231 }] };
    s.breakers = [
        { name: "redis-1", state: "half-open", forMs: 9000, admittedPct: 0, calls: 25, failures: 21, slow: 4, opened: 2 },
        { name: "primary", state: "open", forMs: 61000, admittedPct: 0, calls: 0, failures: 0, slow: 0, opened: 1 },
        { name: "read-1", state: "closed", forMs: 2000, admittedPct: 46, calls: 5210, failures: 0, slow: 0, opened: 0 }];
    const worker = s.members.find((m) => m.kind === "worker");
    Object.assign(worker, { state: "working", inHand: 18, oldest: { endpoint: "countries", ageMs: 1830, place: "lane" } });
    Object.assign(worker.lanes, { busy: 16, max: 16, waiting: 2 });
    s.members.filter((m) => m.kind === "worker")[1].state = "silent";
    s.lanes = { ...s.lanes, busy: 16, waiting: 2 };
    show(s);
});
"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("trouble", [False, True], ids=["well", "trouble"])
def test_every_text_has_enough_contrast(weir, page, scheme, trouble):
    some_traffic(weir)
    browser = page(DESKTOP, scheme)
    browser.run("page.paused = true")
    if trouble:
        browser.run(TROUBLE)
    browser.run("document.querySelectorAll('details').forEach((d) => { d.open = true; })")
    assert browser.run(PALE_TEXTS) == []
    browser.run("document.querySelectorAll('details').forEach((d) => { d.open = false; })")
    browser.shoot(os.path.join(SHOTS, f"status-{scheme}-{'trouble' if trouble else 'well'}.png"))


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_phone_needs_no_scrolling_aside(weir, page, scheme):
    some_traffic(weir)
    browser = page(PHONE, scheme)
    browser.run("page.paused = true")
    browser.run(TROUBLE)
    assert browser.run("return document.documentElement.scrollWidth") == 360
    browser.shoot(os.path.join(SHOTS, f"status-phone-{scheme}.png"))
    browser.run("document.querySelectorAll('details').forEach((d) => { d.open = true; })")
    assert browser.run("return document.documentElement.scrollWidth") == 360
    small = "return [...document.querySelectorAll('button, summary')].filter((b) => b.getBoundingClientRect().height < 24).length"
    assert browser.run(small) == 0, "targets of a finger (WCAG 2.2, 2.5.8)"


def test_dark_and_light_follow_the_system_and_the_switch_is_remembered(page):
    browser = page(DESKTOP, "dark")
    dark = background(browser)
    browser = page(DESKTOP, "light")
    light = background(browser)
    assert dark != light
    for want in ("light", "dark"):
        browser.run("document.getElementById('theme').click()")
        assert browser.run("return document.documentElement.dataset.theme") == want
    assert background(browser) == dark
    browser.driver.refresh()
    assert background(browser) == dark
    assert browser.complaints() == []


def test_each_chart_speaks_and_has_a_table(weir, page):
    some_traffic(weir)
    browser = page(DESKTOP)
    said = browser.run("return [...document.querySelectorAll('.plot')].map((p) => [p.role, p.ariaLabel])")
    assert len(said) == 6
    assert all(role == "img" and " now " in label for role, label in said), said
    browser.run("document.querySelectorAll('.table').forEach((d) => { d.open = true; })")
    processes.wait_until(
        lambda: browser.run("return [...document.querySelectorAll('.table tbody')].every((b) => b.rows.length > 0)"),
        "rows in every table",
    )


def test_the_page_is_made_of_parts_that_have_names(page):
    browser = page(DESKTOP)
    assert browser.run("return document.documentElement.lang") == "en"
    assert browser.run("return document.querySelectorAll('h1').length") == 1
    assert browser.run("return [...document.querySelectorAll('th')].every((th) => th.scope)") is True
    unnamed = """return [...document.querySelectorAll('section, button, meter, table, [role=region]')]
        .filter((e) => !(e.ariaLabel || e.getAttribute('aria-labelledby') || e.textContent.trim())).map((e) => e.outerHTML)"""
    assert browser.run(unnamed) == []
    twice = """const ids = [...document.querySelectorAll('[id]')].map((e) => e.id);
        return ids.filter((id, i) => ids.indexOf(id) !== i)"""
    assert browser.run(twice) == []


def test_nothing_moves_for_who_wants_no_motion(page):
    browser = page(DESKTOP, reduced_motion=True)
    assert browser.run("return document.getAnimations().length") == 0
    assert browser.complaints() == []
