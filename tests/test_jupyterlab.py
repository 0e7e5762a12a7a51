"""The notebooks in a real JupyterLab, driven by a real browser: every control of every section changes a card."""

from __future__ import annotations

import re

import pytest

from quamba_lab.sweep import notebooks as workbook

expect = pytest.importorskip("playwright.sync_api").expect
pytestmark = [pytest.mark.browser, pytest.mark.timeout(600)]

QUICK = {"limit": 4, "layers": [0, 7]}
ERRORS = ".jp-OutputArea-output[data-mime-type='application/vnd.jupyter.error']"
# With the class of a card that is not of the present choice: to lose it is a change too.
CARDS = "section => [...section.querySelectorAll('.ql-box')].map(card => card.outerHTML).join('\\n')"


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    from tools.lab import jupyterlab

    folder = tmp_path_factory.mktemp("lab")
    with jupyterlab(folder, QUICK | {"cache_dir": str(folder / "cache")}) as address:
        yield address


@pytest.fixture
def page(browser):
    """A page whose errors, of the console too, are collected in ``page.errors``; high, as a card out of sight waits."""
    context = browser.new_context(viewport={"width": 1400, "height": 2400})
    page = context.new_page()
    page.errors = []
    page.on("pageerror", lambda error: page.errors.append(str(error)))
    page.on("console", lambda message: message.type == "error" and page.errors.append(message.text))
    yield page
    context.close()


def opened(page, lab, name):
    from tools.lab import run_all

    run_all(page, lab, name)
    assert page.locator(ERRORS).count() == 0
    return page.locator(".ql-explorer")


def settled(page, section, seconds=150):
    """Wait until no card of a section waits for a computation; whether the section asks before it computes."""
    section.page.wait_for_function(
        """section => !section.querySelector('.ql-stale') || [...section.querySelectorAll('.ql-status button')]
            .some(button => button.offsetParent && button.textContent.trim() === 'Compute')""",
        arg=section.element_handle(), timeout=1000 * seconds,
    )  # fmt: skip
    return section.locator(".ql-stale").count() > 0


def names(section):
    return section.locator(".ql-controls .widget-label").all_inner_texts()


def move(page, section, name):
    """Move the control of that name by one step, a list by its options and a slider with the arrow keys."""
    row = section.locator(".ql-controls > *").filter(has=page.locator(f".widget-label:text-is('{name}')"))
    box = row.locator("select")
    if box.count():
        count = box.locator("option").count()
        now = box.evaluate("node => node.selectedIndex")
        others = [label for label in ("Mode A", "Mode B") if label != name] if name.startswith("Mode ") else []
        taken = {
            section.locator(".ql-controls > *").filter(has=page.locator(f".widget-label:text-is('{label}')"))
            .locator("select").evaluate("node => node.selectedIndex") for label in others
        }  # fmt: skip
        found = [i for i in range(count) if i != now and i not in taken]
        if found:
            box.select_option(index=found[0])
        return bool(found)
    handle = row.locator(".noUi-handle")
    handle.focus()
    low, high, now = (float(handle.get_attribute(f"aria-value{part}")) for part in ("min", "max", "now"))
    if low == high:
        return False
    page.keyboard.press("ArrowLeft" if now == high else "ArrowRight")
    return True


@pytest.mark.parametrize("name", list(workbook()))
def test_every_control_changes_a_card(page, lab, name):
    sections = opened(page, lab, name)
    assert sections.count() >= 1
    for section in sections.all():
        section.scroll_into_view_if_needed()
        settled(page, section)
        for control in names(section):
            before = section.evaluate(CARDS)
            if not move(page, section, control):
                continue
            page.wait_for_function(
                f"([section, before]) => ({CARDS})(section) !== before || section.querySelector('.ql-stale')",
                arg=[section.element_handle(), before], timeout=30_000,
            )  # fmt: skip
            if settled(page, section):
                continue  # the section says that it has not computed this choice, and offers to
            assert section.evaluate(CARDS) != before, f"{control} changes nothing"
    assert page.errors == []
    assert page.locator(ERRORS).count() == 0


def test_a_click_into_the_map_and_the_arrow_keys_choose_its_cell(page, lab):
    section = opened(page, lab, "2_scan_inputs").first
    section.scroll_into_view_if_needed()
    settled(page, section)
    value = "label => [...document.querySelectorAll('.ql-controls > *')].find(row => row.textContent.includes(label))"
    layer = f"() => ({value})('Layer').querySelector('select').selectedOptions[0].textContent"
    token = f"() => ({value})('Token').querySelector('.widget-readout').textContent"
    picture = section.locator("[data-key=map]")
    area, box = picture.bounding_box(), picture.evaluate("node => JSON.parse(node.dataset.box)")
    left, top, wide, tall = box
    at = {"x": area["width"] * (left + wide * 0.5), "y": area["height"] * (top + tall * 0.25)}
    picture.click(position=at)
    page.wait_for_function(f"() => ({layer})() === '0'", timeout=20_000)
    length = picture.evaluate("node => JSON.parse(node.dataset.x).options.length")
    page.wait_for_function(f"() => Math.abs(({token})() - {length // 2}) <= 1", timeout=20_000)
    now = int(page.evaluate(token))
    picture.focus()
    page.keyboard.press("ArrowDown")
    page.wait_for_function(f"() => ({layer})() === '7'", timeout=20_000)
    page.keyboard.press("ArrowRight")
    page.wait_for_function(f"() => ({token})() === '{now + 1}'", timeout=20_000)
    shown = section.locator("[data-key=text] .ql-chosen")  # drawn after the control has moved
    expect(shown).to_have_attribute("title", re.compile(rf"token {now + 1}\b"), timeout=20_000)
    assert page.errors == []


@pytest.mark.parametrize("theme", ["Light", "Dark"])
def test_nothing_overflows_at_1366_by_768(browser, tmp_path, theme):
    from tools.lab import jupyterlab

    with jupyterlab(tmp_path, QUICK, theme) as address:
        context = browser.new_context(viewport={"width": 1366, "height": 768})
        page = context.new_page()
        section = opened(page, address, "0_summary").first
        section.scroll_into_view_if_needed()
        settled(page, section)
        wide = section.evaluate("""section => [...section.querySelectorAll('.ql-controls > *, .ql-cards > *, .ql-box')]
            .filter(node => node.scrollWidth > node.clientWidth + 1).map(node => node.className)""")
        assert wide == []
        ink = section.evaluate("section => getComputedStyle(section.querySelector('.ql-text')).color")
        assert (sum(map(int, ink[ink.index("(") + 1 : -1].split(",")[:3])) > 384) == (theme == "Dark")
        context.close()
