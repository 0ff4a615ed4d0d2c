"""The console in a real Chromium, against replicas at work: what it shows is what the metrics and the contract say, it explains
decisions, it turns with the state of the data, and it is for everybody: by keyboard, in light and dark, on a narrow screen."""

from __future__ import annotations

import contextlib
import datetime
import itertools
import json
import os
import pathlib
import re
import threading
import urllib.request

import pytest
from google.protobuf import json_format

from browser import NODE_MODULES, Browser
from harness import REPO, Server, eventually, pb

ASSETS = REPO / "src/web/console/assets"
DEMO = REPO / "src/cli/demo"
YEAR = str(datetime.date.today().year)
EXAMPLES = json.loads((DEMO / "declarations.json").read_text().replace("YYYY", YEAR))
DARK = {"colorScheme": "dark"}
NARROW = {"viewport": {"width": 360, "height": 740}}
# The decree in force under another name, from a day on that is far away.
NEXT = datetime.datetime(2099, 4, 1, tzinfo=datetime.timezone(datetime.timedelta(hours=8)))


def human(code: str, prefix: str) -> str:
    return code.removeprefix(f"{prefix}_").replace("_", " ").capitalize()


def fill_with_sample(server: Server):
    server.wait_for_store()
    with contextlib.closing(server.sql()) as sql:
        sql.executescript((DEMO / "sample.sql").read_text())
    server.wait_ready()


def load(server: Server, stop: threading.Event):
    """Decides the demo's declarations over and over, each under a number of its own."""
    for number, example in zip(itertools.count(), itertools.cycle(EXAMPLES)):
        if stop.wait(0.01):
            return
        request = json_format.ParseDict(example["request"], pb.DecideRequest())
        request.declaration_number = f"{request.declaration_number[:9]}{number:09d}"
        server.facilitation.Decide(request, timeout=10)


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    folder = tmp_path_factory.mktemp("console")
    decree = (REPO / "src/policy/decrees/cn-gacc-282.toml").read_text()
    decree = decree.replace('"CN-GACC-282"', '"CN-GACC-999"').replace("2026-04-01", NEXT.strftime("%Y-%m-%d"))
    (folder / "policies").mkdir()
    (folder / "policies/cn-gacc-999.toml").write_text(decree)
    with Server(folder, {"policy.directory": str(folder / "policies")}).start(wait=False) as server:
        fill_with_sample(server)
        stop = threading.Event()
        thread = threading.Thread(target=load, args=(server, stop))
        thread.start()
        yield server
        stop.set()
        thread.join()


@pytest.fixture(scope="module")
def chromium():
    with Browser() as browser:
        yield browser


@pytest.fixture
def browser(chromium, server):
    """The page, open, live, with nothing to complain of but what a test has answered itself."""
    chromium.open(f"http://{server.http_addr}/")
    chromium.reads("#state-word", "LIVE")
    yield chromium
    # The browser notes every answer of 4xx; those to what people wrote are no fault of the page.
    faults = [said for said in chromium.complaints() if "/v1/" not in said]
    requests = chromium.run("return seen.requests.splice(0)")
    others = [url for url in requests if not url.startswith((f"http://{server.http_addr}/", "about:"))]
    assert (faults, others) == ([], [])


def number(text: str) -> int:
    return int(text.replace(",", ""))


# --- the figures ----------------------------------------------------------------------------------


def test_every_panel_shows_live_figures_that_agree_with_the_metrics(browser, server):
    lanes = ("GREEN", "BLUE", "YELLOW", "RED", "MANUAL")

    def decided() -> dict[str, int]:
        return {lane: int(server.metric("greenlane_decisions_total", lane=lane)) for lane in lanes}

    def shown() -> dict[str, int]:
        counts = browser.texts("#lanes-rows td:last-child")
        return dict(zip(lanes, map(number, counts)))

    # A dash stands for what is not known yet.
    eventually(lambda: float(browser.text("#traffic-total").replace("–", "0")) > 1, 10, "decisions a second")
    before = decided()
    eventually(lambda: all(shown()[lane] >= before[lane] for lane in lanes), 10, "counts of decisions")
    counts, after = shown(), decided()
    assert all(before[lane] <= counts[lane] <= after[lane] for lane in lanes), (before, counts, after)
    assert all(count > 0 for lane, count in counts.items() if lane != "BLUE"), counts
    # Seconds have gone by, and a page that is opened shows them.
    assert browser.run("return page.locator('#traffic-plot canvas').count()") == 1

    tiers = ("ADVANCED_CERTIFIED", "CERTIFIED", "REGULAR", "DISCREDITED", "SERIOUSLY_DISCREDITED")
    enterprises = dict(zip(tiers, map(number, browser.texts("#register-rows td:nth-child(2)"))))
    assert enterprises == {tier: int(server.metric("greenlane_registry_enterprises", credit_tier=tier)) for tier in tiers}

    for quantile in ("#latency-p50", "#latency-p99", "#latency-p999"):
        eventually(lambda: re.fullmatch(r"[\d.]+ (µs|ms|s)", browser.text(quantile)), 10, quantile)
    records = int(server.metric("greenlane_audit_records_total"))
    eventually(lambda: number(browser.texts("#audit-facts dd")[0]) >= records, 10, "audit records")
    assert number(browser.texts("#audit-facts dd")[0]) <= server.metric("greenlane_audit_records_total")
    assert "written before its answer leaves" in browser.text("#audit-state")
    # What a terminal has asked for is in memory.
    logged = server.audit.ListDecisions(pb.ListDecisionsRequest(page_size=1)).records[0]
    key = pb.ShipmentKey(declaration_number=logged.decision.declaration_number)

    def is_held() -> bool:
        server.priority.GetPriority(pb.GetPriorityRequest(key=key))
        return number(browser.texts("#shipments-facts dd")[0]) > 0

    eventually(is_held, 10, "a shipment in memory")
    eventually(lambda: browser.texts("#shipments-facts dd")[2] == "0", 10, "nothing unsaved")
    facts = dict(zip(browser.texts("#state-facts dt"), browser.texts("#state-facts dd")))
    version = server.status().registry_version
    assert facts["Position"] == f"{version.sequence} of {version.epoch[:8]}"
    assert (facts["Source"], facts["Ready"]) == ("sqlite", "yes")
    assert "First snapshot" in browser.text("#events") and "5012 enterprises" in browser.text("#events")
    browser.picture("light")


def test_realized_rates_are_shown_against_the_law_as_the_contract_tells_them(browser, server):
    def rows(ask) -> dict[str, list[str]]:
        return {tier: ask(f"#rates-rows tr[data-tier={tier}] td") for tier in ("ADVANCED_CERTIFIED", "REGULAR", "DISCREDITED")}

    month = browser.text("#rates-month").split(",")[0]
    told = server.audit.ListRealizedRates(pb.ListRealizedRatesRequest(month=month), timeout=10).all_offices
    told = {pb.CreditTier.Name(rate.credit_tier).removeprefix("CREDIT_TIER_"): rate for rate in told}
    later = browser.run("""return page.waitForFunction(([tier, drawn]) => {
        const of = document.querySelector(`#rates-rows tr[data-tier=${tier}] td`).textContent.split(' of ')[1];
        return Number(of?.replaceAll(',', '')) >= drawn;
    }, given.least).then(() => true)""", least=["ADVANCED_CERTIFIED", told["ADVANCED_CERTIFIED"].drawn])
    assert later
    shown = rows(browser.texts)
    drawn, realized, bounds, law, _, verdict = shown["ADVANCED_CERTIFIED"]
    selected, of = map(number, drawn.split(" of "))
    assert of >= told["ADVANCED_CERTIFIED"].drawn
    assert float(realized.split()[0]) == pytest.approx(100 * selected / of, rel=0.01)
    low, high = (float(bound.split()[0]) for bound in bounds.split(" to "))
    assert low <= 100 * selected / of <= high
    # 20 % of the baseline, strictly below it: decree 251, carried over by 282.
    assert law == "at most 0.488 %" and verdict == "○ no breach shown"
    assert (shown["REGULAR"][3], shown["DISCREDITED"][3]) == ("none", "at least 80.00 %")
    # The interval and the rate are drawn where they belong: 0.01 % at the left end, 100 % at the right one.
    dots = browser.run("""return page.locator('#rates-rows .rate').evaluateAll((dots) => dots.map((dot) => dot.getAttribute('cx')))""")
    assert len(dots) == len(told) and all(0 <= float(dot.rstrip("%")) <= 100 for dot in dots)


def test_the_policy_in_force_and_the_time_until_the_next(browser, server):
    assert browser.text("#policy-now strong") == "CN-GACC-282"
    assert "provisional" in browser.text("#policy-now")
    assert browser.text("#next-label") == "CN-GACC-999 takes effect in"
    first = browser.text("#next-left")
    eventually(lambda: browser.text("#next-left") != first, 5, "the countdown goes on")
    days, clock = re.fullmatch(r"(\d+) d (\d\d:\d\d:\d\d)", browser.text("#next-left")).groups()
    hours, minutes, seconds = map(int, clock.split(":"))
    left = datetime.timedelta(days=int(days), hours=hours, minutes=minutes, seconds=seconds)
    assert abs(datetime.datetime.now(datetime.timezone.utc) + left - NEXT) < datetime.timedelta(seconds=5)
    assert [line.split()[1] for line in browser.texts("#policy-list li")] == [
        "CN-GACC-225", "CN-GACC-237", "CN-GACC-251", "CN-GACC-282", "CN-GACC-999"]


def test_the_page_knows_a_word_for_every_cause_that_the_metrics_know(browser, server):
    for metric, words in (("greenlane_upstream_resyncs_total", "RESYNCS"), ("greenlane_upstream_refusals_total", "REFUSALS")):
        causes = {re.search(r'cause="(\w+)"', sample)[1] for sample in server.metrics() if sample.startswith(metric)}
        known = browser.run("return page.evaluate(async (name) => Object.keys((await import('/console/words.js'))[name]), given.words)",
                            words=words)
        assert causes and causes == set(known), metric


def test_nobody_is_asked_while_nobody_looks(browser):
    hide = """await page.evaluate((hidden) => {
        Object.defineProperty(document, 'hidden', { configurable: true, get: () => hidden });
        document.dispatchEvent(new Event('visibilitychange'));
    }, given.hidden)"""
    browser.run(hide + "; await page.waitForLoadState('networkidle'); seen.requests.splice(0)", hidden=True)
    browser.run("await page.waitForTimeout(2200)")
    assert browser.run("return seen.requests.splice(0)") == []
    browser.run(hide, hidden=False)
    eventually(lambda: browser.run("return seen.requests.length"), 5, "figures are asked for again")


# --- the explorer ---------------------------------------------------------------------------------


def example(shows: str) -> dict:
    return next(each["request"] for each in EXAMPLES if each["shows"] == shows)


@pytest.mark.parametrize("shows, lane", [
    ("advanced certified importer and broker", "GREEN"),
    ("poultry: inspected whatever the tier", "RED"),
    ("a container under a hold order", "MANUAL"),
])
def test_an_example_is_explained_with_the_reasons_and_articles_of_the_decision(browser, server, shows, lane):
    browser.run("await page.getByLabel('Example').selectOption({label: given.label})", label=shows[0].upper() + shows[1:])
    browser.click("#load")
    browser.click("#explain")
    browser.reads("#decision .outcome", lane)
    request = json_format.ParseDict(example(shows), pb.DecideRequest())
    decision = server.facilitation.Simulate(pb.SimulateRequest(request=request), timeout=10).decision
    assert pb.Lane.Name(decision.lane) == f"LANE_{lane}"
    assert browser.texts(".reasons li strong") == [human(pb.ReasonCode.Name(each.code), "REASON_CODE") for each in decision.reasons]
    assert browser.texts(".reasons cite") == [each.article for each in decision.reasons if each.article]
    assert browser.texts(".reasons cite")
    for text in [each.text for each in decision.reasons]:
        assert text in browser.text(".reasons")
    # Whoever uses the keyboard stands at the answer.
    assert browser.run("return page.evaluate(() => document.activeElement.id)") == "decision"
    browser.picture(f"explained-{lane.lower()}")


def test_a_declaration_is_pasted_as_json_in_either_spelling_and_goes_on_in_the_form(browser):
    poultry = example("poultry: inspected whatever the tier")
    browser.run("await page.getByRole('radio', {name: 'JSON'}).check()")
    browser.fill("#json", "{not json")
    browser.click("#explain")
    assert "no JSON" in browser.text("#json-problem")
    snake = {re.sub("[A-Z]", lambda letter: "_" + letter[0].lower(), key): value for key, value in poultry.items()}
    browser.fill("#json", json.dumps(snake))
    browser.click("#explain")
    browser.reads("#decision .outcome", "RED")
    browser.run("await page.getByRole('radio', {name: 'Form'}).check()")
    assert browser.run("return page.locator('[name=declarationNumber]').inputValue()") == poultry["declarationNumber"]
    # What if it were discredited, under the decree before?
    browser.run("await page.locator('[name=policyId]').selectOption('CN-GACC-251')")
    browser.click("#suppose .add")
    browser.fill("#overrides [name=customsCode]", poultry["parties"][0]["customsCode"])
    browser.run("await page.getByLabel('stands as').selectOption({label: 'DISCREDITED'})")
    browser.click("#explain")
    browser.reads("#decision .facts", "CN-GACC-251")
    assert "Discredited" in browser.text("#decision .facts")


def test_every_violation_of_a_bad_declaration_stands_beside_its_field(browser, server):
    browser.click("#load")
    browser.fill("[name=declarationNumber]", "12")
    browser.fill("[name=customsOffice]", "")
    browser.fill("#parties fieldset:nth-child(2) [name=code]", "abc")
    browser.fill("[name=originCountry]", "Korea"[:2])
    browser.fill("[name=containerNumbers]", "CSQU3054383, CSQU3054384")
    browser.fill("[name=asOf]", "2010-01-01T00:00:00Z")
    browser.click("#explain")
    browser.reads("#violations", "break a rule")
    fields = browser.texts("#violations code")
    beside = browser.run("""return page.locator('#form [aria-invalid]').evaluateAll((controls) => controls.map((control) =>
        [control.name, document.getElementById(control.getAttribute('aria-describedby')).textContent]))""")
    assert {name for name, _ in beside} >= {"declarationNumber", "customsOffice", "code", "originCountry", "containerNumbers"}, (fields, beside)
    assert all(problem for _, problem in beside)
    assert {"request.declaration_number", "request.parties[1].customs_code", "request.container_numbers[1]"} <= set(fields)
    # From the list to the field, by keyboard.
    browser.run("""await page.locator('#violations a', {hasText: 'parties[1]'}).focus(); await page.keyboard.press('Enter')""")
    assert browser.run("return page.evaluate(() => document.activeElement.value)") == "abc"
    browser.picture("violations")


# --- the look-up ----------------------------------------------------------------------------------


@pytest.mark.parametrize("identifier", ["1101910001", "91110000600037341L", "AEOCN1101910001"])
def test_an_enterprise_is_found_by_each_of_its_codes(browser, identifier):
    browser.fill("#identifier", identifier)
    browser.run("await page.keyboard.press('Enter')")
    browser.reads("#enterprise", "Beijing Lantern Electronics Co., Ltd.")
    facts = dict(zip(browser.texts("#enterprise dt"), browser.texts("#enterprise dd")))
    assert (facts["Customs code"], facts["Stands today as"], facts["Until"]) == ("1101910001", "Advanced certified", "no end")
    browser.picture("found")


def test_what_is_not_registered_and_what_is_no_code_are_told_apart(browser):
    browser.fill("#identifier", "9999999999")
    browser.click("#lookup-form button")
    browser.reads("#enterprise", "Not registered.")
    browser.fill("#identifier", "?")
    browser.click("#lookup-form button")
    eventually(lambda: browser.text("#lookup-problem"), 10, "what is wrong with the code")
    assert browser.text("#enterprise") == ""


# --- for everybody --------------------------------------------------------------------------------


def test_everything_is_reached_and_done_by_keyboard_alone(browser):
    press = "await page.keyboard.press(given.key)"
    where = """return page.evaluate(() => {
        const { outlineStyle, outlineWidth } = getComputedStyle(document.activeElement);
        return [document.activeElement.name || document.activeElement.id || document.activeElement.textContent.trim(),
            outlineStyle !== 'none' && parseFloat(outlineWidth) >= 2];
    })"""
    browser.run(press, key="Tab")
    assert browser.run(where) == ["Skip to the figures", True]
    browser.run(press, key="Enter")
    assert browser.run("return page.evaluate(() => location.hash)") == "#main"
    reached = []
    while "identifier" not in reached:
        browser.run(press, key="Tab")
        name, visible = browser.run(where)
        assert visible, f"nothing shows that {name} has the focus"
        reached.append(name)
        assert len(reached) < 80, reached
        if name == "load":
            browser.run(press, key="Enter")
            eventually(lambda: browser.run("return page.locator('[name=declarationNumber]').inputValue()"), 5, "the example")
        if name == "explain":
            browser.run(press, key="Enter")
            browser.reads("#decision .outcome", "GREEN")
    assert {"example", "load", "as", "declarationNumber", "policyId", "explain"} <= set(reached), reached
    browser.run("await page.keyboard.type('1101910001')")
    browser.run(press, key="Enter")
    browser.reads("#enterprise", "Beijing Lantern")


@pytest.mark.parametrize("name, options", [("light", {}), ("dark", DARK), ("narrow", NARROW)])
def test_nothing_stands_in_anybodys_way(browser, server, name, options):
    browser.open(f"http://{server.http_addr}/", **options)
    browser.reads("#state-word", "LIVE")
    browser.click("#load")
    browser.click("#explain")
    browser.reads("#decision .outcome", "GREEN")
    browser.fill("#identifier", "3502960007")
    browser.click("#lookup-form button")
    browser.reads("#enterprise", "suspended")
    browser.picture(f"whole-{name}")
    assert browser.run("return axe()") == []
    wide = browser.run("return page.evaluate(() => document.documentElement.scrollWidth - window.innerWidth)")
    assert wide <= 0, f"{wide} px to the side"


def test_the_theme_that_was_chosen_stays(browser):
    paper = "return page.evaluate(() => getComputedStyle(document.body).backgroundColor)"
    light = browser.run(paper)
    browser.click("#theme")
    browser.click("#theme")
    assert browser.text("#theme") == "Theme: dark" and browser.run(paper) != light
    browser.run("await page.reload()")
    assert browser.text("#theme") == "Theme: dark" and browser.run(paper) != light


# --- when things go wrong -------------------------------------------------------------------------


def test_the_page_turns_stale_then_expired_and_back_and_says_when_there_is_no_contact(chromium, tmp_path):
    settings = {"freshness.relief_max_age": "2s", "freshness.decision_max_age": "5s"}
    with Server(tmp_path, settings).start(wait=False) as server:
        fill_with_sample(server)
        chromium.open(f"http://{server.http_addr}/")
        chromium.reads("#state-word", "LIVE")
        assert chromium.text("#announce") == ""
        os.rename(server.db, server.tmp / "away.db")
        chromium.reads("#state-word", "STALE")
        assert "Relief is withheld" in chromium.text("#state")
        chromium.picture("stale", whole=False)
        stale = chromium.run("return axe('#state')")
        chromium.reads("#state-word", "EXPIRED")
        chromium.picture("expired", whole=False)
        assert "Every declaration goes to MANUAL" in chromium.text("#state")
        assert len(chromium.texts("#state-act li")) >= 2
        assert chromium.text("#announce").startswith("Now EXPIRED.")
        assert chromium.run("return page.title()").startswith("EXPIRED")
        assert chromium.text("#data-error") != ""
        band = chromium.run("""return page.evaluate(() => {
            window.scrollTo({ top: document.body.scrollHeight, behavior: 'instant' });
            const { top, width, height } = document.getElementById('state').getBoundingClientRect();
            return [top, width > 0.95 * document.documentElement.clientWidth, height > 80];
        })""")
        assert band == [0, True, True], "the band stays in sight"
        chromium.click("#load")
        chromium.click("#explain")
        chromium.reads("#decision .outcome", "MANUAL")
        assert "Data expired" in chromium.text(".reasons")
        expired = chromium.run("return axe('#state')")
        os.rename(server.tmp / "away.db", server.db)
        chromium.reads("#state-word", "LIVE")
        assert chromium.run("return page.title()") == "Greenlane console"
        assert chromium.complaints() == []

        server.kill()
        chromium.reads("#state-word", "NO CONTACT")
        chromium.reads("#state-sentence", "No figures for")
        first = chromium.text("#state-sentence")
        eventually(lambda: chromium.text("#state-sentence") != first, 5, "the time without contact goes on")
        chromium.picture("unreachable", whole=False)
        assert (stale, expired, chromium.run("return axe('#state')")) == ([], [], [])
        chromium.complaints()
        server.start()
        chromium.reads("#state-word", "LIVE", 15)


# --- what it is made of ---------------------------------------------------------------------------


def test_the_embedded_library_is_what_its_authors_published():
    published = pathlib.Path(NODE_MODULES) / "uplot"
    for own, theirs in (("uPlot.iife.min.js", "dist/uPlot.iife.min.js"), ("uPlot.min.css", "dist/uPlot.min.css"), ("uPlot.LICENSE", "LICENSE")):
        assert (ASSETS / "vendor" / own).read_bytes() == (published / theirs).read_bytes(), own


def test_parts_are_sent_once_and_asked_for_ever_after(server):
    def ask(tag: str | None):
        headers = {"If-None-Match": tag} if tag else {}
        request = urllib.request.Request(f"http://{server.http_addr}/console/console.js", headers=headers)
        try:
            with urllib.request.urlopen(request, timeout=5) as answer:
                return answer.status, answer.headers["ETag"], len(answer.read())
        except urllib.error.HTTPError as answer:
            return answer.code, answer.headers["ETag"], len(answer.read())

    status, tag, length = ask(None)
    assert (status, length) == (200, (ASSETS / "console.js").stat().st_size)
    assert ask(tag) == (304, tag, 0)
