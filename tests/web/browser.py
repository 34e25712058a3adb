"""One window of a browser, with what it complains of, and what axe-core does."""

from __future__ import annotations

from axe_playwright_python.sync_playwright import Axe

SERIOUS = ("serious", "critical")


class Window:
    """`page`: Playwright's. `complaints`: errors of scripts, on the console, and of the content security policy."""

    def __init__(self, context) -> None:
        self._context = context
        self._ready_for_loss = False
        self.complaints: list[str] = []
        self.page = context.new_page()
        self.page.set_default_timeout(30_000)
        self.page.on("console", self._said)
        self.page.on("pageerror", lambda error: self.complaints.append(f"script: {error}"))

    def expect_loss(self) -> None:
        """From now on the server may be away: that requests fail is no complaint."""
        self._ready_for_loss = True

    def faults(self) -> list[str]:
        """What axe-core finds serious or critical, in light and in dark."""
        return [fault for scheme in ("light", "dark") for fault in self._faults(scheme)]

    def close(self) -> None:
        self._context.close()

    def _faults(self, scheme: str) -> list[str]:
        self.page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
        found = Axe().run(self.page).response["violations"]
        return [
            f"{scheme}: {fault['id']}: {fault['help']}: {[node['html'][:200] for node in fault['nodes']]}"
            for fault in found
            if fault["impact"] in SERIOUS
        ]

    def _said(self, message) -> None:
        failed_request = message.text.startswith("Failed to load resource")
        if message.type in ("error", "warning") and not (failed_request and self._ready_for_loss):
            self.complaints.append(f"{message.type}: {message.text} ({message.location.get('url')})")
