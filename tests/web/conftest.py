"""A real Chromium for tests of the web pages. It is Debian's, so that nothing is downloaded."""

import os
import shutil
from urllib.parse import urlsplit

import pytest
from browser import Window
from playwright.sync_api import expect, sync_playwright

EXPECT_MS = 30_000


@pytest.fixture(scope="session")
def chromium():
    program = shutil.which("chromium")
    if program is None:
        pytest.fail("Chromium is missing, which the tests of the web pages need. As root: scripts/install-chromium.sh")
    expect.set_options(timeout=EXPECT_MS)
    with sync_playwright() as playwright:
        # The sandbox is not there for root.
        options = ["--no-sandbox"] if os.geteuid() == 0 else []
        browser = playwright.chromium.launch(executable_path=program, args=options)
        yield browser
        browser.close()


@pytest.fixture
def served(install):
    """Starts an installation with these worker classes; `web` is where its pages are, after a restart too."""

    def make(workers):
        installation = install(workers=workers).start()
        installation.web = installation.status().web
        text = installation.ini.read_text()
        here = f"[web]\nport = {urlsplit(installation.web).port}\n"
        installation.ini.write_text(text.replace("[web]\nport = 0\n", here))
        return installation

    return make


@pytest.fixture
def window(chromium):
    """Opens windows of browsers that know nothing of each other; at the end, none may have had a complaint."""
    opened = []

    def make(**options):
        opened.append(Window(chromium.new_context(reduced_motion="reduce", **options)))
        return opened[-1]

    yield make
    complaints = [complaint for one in opened for complaint in one.complaints]
    for one in opened:
        one.close()
    assert complaints == []
