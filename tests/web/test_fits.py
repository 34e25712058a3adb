"""No page is wider than its window, from 320 px on, whatever the names, the reasons and the figures are."""

import pytest
from installation import ECHO
from playwright.sync_api import expect

pytestmark = [pytest.mark.services, pytest.mark.timeout(180)]

WIDTHS = (320, 390, 768, 1280)
LONG = "CustomerCareAndAirtimeAdvanceRepaymentsOfTheWholeRegionWorker"
BROKEN = f"""
[worker:{LONG}]
class = broken.{LONG}
codes = *120*8001234567*1234567*1234567*1234567#
short-codes = 31022
min = 1
max = 40
workers = 40
"""
REASON = "https://" + "a-very-long-host-name." * 8 + "example/ does not answer"
OVERFLOWING = """
() => {
  const shown = (element) => element.checkVisibility() && !element.closest(".unseen, .skip");
  const all = [...document.querySelectorAll("body *")].filter(shown);
  const name = (element) => `${element.tagName}.${element.className} “${element.textContent.slice(0, 40)}”`;
  const scrolls = (element) => ["auto", "scroll", "hidden"].includes(getComputedStyle(element).overflowX);
  const inside = (element) => element.parentElement?.closest("pre, .plot, .text, .entry, svg");
  const outside = all.filter((element) => !inside(element)).filter((element) => {
    const { left, right } = element.getBoundingClientRect();
    return left < -0.5 || right > innerWidth + 0.5;
  });
  const bursting = all.filter((element) => element.clientWidth && !inside(element) && !element.matches("pre, input"))
    .filter((element) => element.scrollWidth > element.clientWidth + 1);
  const page = document.documentElement;
  const sideways = page.scrollWidth > page.clientWidth ? [`the page: ${page.scrollWidth} of ${page.clientWidth}`] : [];
  return [...sideways, ...outside.map((element) => `outside: ${name(element)}`),
    ...bursting.map((element) => `${scrolls(element) ? "scrolls" : "bursts"}: ${name(element)}`)];
}
"""
# In one go with the look: what the server says next does not come between.
LARGE = """
() => {
  const figures = "#sums dd, .class .facts dd, td.number, .class output, .chart .keys b, .class .count";
  for (const place of document.querySelectorAll(figures)) place.textContent = "123,456,789";
}
"""


def overflowing(page, before="() => {}"):
    """By width: what does not fit."""
    found = {}
    for width in WIDTHS:
        page.set_viewport_size({"width": width, "height": 800})
        page.evaluate("() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")
        if faults := page.evaluate(f"() => {{ ({before})(); return ({OVERFLOWING})(); }}"):
            found[width] = faults
    return found


def test_everything_fits_from_320_pixels_on(served, window):
    richmond = served(ECHO)
    (richmond.site / "broken.py").write_text(f'raise RuntimeError("{REASON}")\n')
    richmond.ini.write_text(richmond.ini.read_text() + BROKEN)
    assert richmond.run("reload").returncode == 0
    richmond.wait("the class to fail", lambda s: any(slot.state == "FATAL" for c in s.classes for slot in c.slots))
    assert richmond.run("gateway", "sms", "27831112222", "VOTE cats", "--to", "39999").returncode == 0
    browser = window(has_touch=True)
    page = browser.page
    page.goto(richmond.run("web").stdout.strip())
    card = page.get_by_role("article", name=f"Worker class {LONG}")
    expect(card.locator(".wrong")).to_contain_text("does not answer")
    expect(page.locator("#dead-table")).to_be_visible()
    expect(page.locator("canvas").first).to_be_visible()
    assert overflowing(page) == {}
    assert overflowing(page, LARGE) == {}

    # What a reload would do says what the command says of it; the answer that refuses is in the browser's console.
    browser.expect_loss()
    page.get_by_role("button", name="Reload…").click()
    dialog = page.get_by_role("dialog")
    expect(dialog).to_contain_text(f"class: broken.{LONG} cannot be imported: RuntimeError: {REASON}")
    expect(dialog.get_by_role("button", name="Reload")).to_have_count(0)
    assert overflowing(page) == {}
    dialog.get_by_role("button", name="Close").click()
    page.get_by_role("button", name="Look").click()
    expect(dialog.get_by_role("row")).to_have_count(2)
    assert overflowing(page) == {}
    assert browser.faults() == []

    page.goto(f"{richmond.web}phone")
    page.get_by_label("Number").fill("123456789012345")
    page.get_by_role("button", name="Add a telephone").click()
    phone = page.locator(".handset").nth(1)
    expect(phone).to_have_attribute("data-state", "idle")
    expect(phone.locator(".codes")).to_contain_text(LONG)
    assert overflowing(page) == {}
    phone.locator(".entry input").fill("*120*663#")
    phone.locator(".entry input").press("Enter")
    expect(phone).to_have_attribute("data-state", "menu")
    phone.locator(".entry input").fill("W" * 182)
    phone.locator(".entry input").press("Enter")
    expect(phone.locator(".text")).to_contain_text("W" * 182)
    phone.get_by_label("Message", exact=True).fill("W" * 1000)
    phone.get_by_role("button", name="Send SMS").click()
    expect(phone.locator(".inbox li.sent")).to_have_count(1)
    page.locator("#log summary").click()
    expect(page.locator("#lines")).to_contain_text("W" * 182)
    assert overflowing(page) == {}
