"""The first lesson as a newcomer takes it: the bot as it is started, a real browser, the real base encoder."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.fakes.running import BRIEF, ROOT, start_bot

playwright = pytest.importorskip("playwright.async_api", reason="Playwright's Python package is not installed")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
SCREENS = ROOT / "build" / "screens"
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]

pytestmark = [
    pytest.mark.slow,
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium on this machine"),
]


@pytest.fixture
async def page(tmp_path: Path) -> AsyncIterator[playwright.Page]:
    """The page of a bot that has just been started for the first time; any error on it fails the test."""
    bot = await start_bot(tmp_path / "data", base=None, **BRIEF)
    troubles: list[str] = []
    try:
        async with playwright.async_playwright() as chromium:
            browser = await chromium.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
            page = await browser.new_page(viewport={"width": 1280, "height": 800})
            page.on("pageerror", lambda error: troubles.append(str(error)))
            page.on("console", lambda line: troubles.append(line.text) if line.type == "error" else None)
            await page.goto(bot.url)
            yield page
            await browser.close()
    finally:
        assert await bot.end() == 0
    assert troubles == []


def right(score: str) -> int:
    """ "43 of 60 right · 72 %" → 43."""
    return int(score.split(" of ")[0])


async def test_a_newcomer_takes_the_lesson_and_sees_the_answers_get_better(page: playwright.Page) -> None:
    expect = playwright.expect
    await page.locator("#lesson-toggle").click()
    lesson = page.locator("#lesson")
    scores = lesson.locator(".step-score")

    await lesson.locator("button[data-step=names]").click()
    await expect(scores).to_have_count(1, timeout=30_000)
    await lesson.locator("button[data-step=teach]").click()
    await expect(scores).to_have_count(2, timeout=30_000)
    await lesson.locator("button[data-step=train]").click()
    await expect(lesson.get_by_role("progressbar")).to_be_visible()
    await expect(lesson.locator(".verdict-title")).to_be_visible(timeout=240_000)
    await lesson.locator("button[data-step=ask]").click()
    await expect(scores).to_have_count(3, timeout=30_000)

    names, taught, asked_again = [right(await score.inner_text()) for score in await scores.all()]
    assert taught > names, "labels improve the answers at once"
    # Whatever the gate decided, what answers now must not be clearly worse.
    assert asked_again >= taught - 2
    await expect(lesson).to_contain_text("held-out texts")
    await page.screenshot(path=screen("lesson-end"))

    # The training was shown in its channel, as one message that became the result.
    await page.locator("nav").get_by_text("training").first.click()
    await expect(page.locator("#log .message")).to_have_count(1)
    await expect(page.locator("#log .message").first).to_contain_text("held-out texts")
    await page.screenshot(path=screen("training-channel"))


async def test_asking_and_correcting_by_keyboard_and_click(page: playwright.Page) -> None:
    expect = playwright.expect
    await page.locator("#lesson-toggle").click()
    await page.locator("#lesson button[data-step=names]").click()
    await expect(page.locator("#lesson .step-score")).to_have_count(1, timeout=30_000)

    await page.fill("#message", "/ask text: I was charged twice for November")
    await page.keyboard.press("Enter")
    await page.keyboard.press("Enter")
    answer = page.locator("#log .message.ephemeral").last
    await expect(answer).to_contain_text("v0", timeout=15_000)
    await answer.get_by_role("button", name="Right").click()
    await expect(answer).to_contain_text("Taught")
    await answer.get_by_role("button", name="Undo").click()
    await expect(page.locator("#log .message.ephemeral").last).to_contain_text("back")
    await page.screenshot(path=screen("ask-and-undo"))


def screen(name: str) -> Path:
    """Where a picture of the page is kept, for people to look at."""
    SCREENS.mkdir(parents=True, exist_ok=True)
    return SCREENS / f"{name}.png"
