"""A real Chromium, driven by playwright-core under node: see browser.mjs."""

from __future__ import annotations

import json
import os
import pathlib
import shutil
import subprocess

from harness import E2E, REPO, eventually

NODE_MODULES = os.environ.get("NODE_MODULES") or str(REPO / "target/tests-node/node_modules")
# Where pictures of the pages are to be left, to be looked at; nowhere unless it is set.
PICTURES = os.environ.get("GREENLANE_PICTURES")


class Browser:
    """One Chromium with at most one page."""

    def __enter__(self) -> "Browser":
        chromium = shutil.which("chromium") or shutil.which("chromium-browser")
        if not chromium:
            raise RuntimeError("no chromium: tests/run.sh installs it")
        self.process = subprocess.Popen(
            ["node", "--input-type=module", "-e", (E2E / "browser.mjs").read_text()], cwd=NODE_MODULES, text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=os.environ | {"CHROMIUM": chromium})
        return self

    def __exit__(self, *_):
        self.process.stdin.close()
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def run(self, script: str, **given):
        """Runs the body of an async function with `given`, and returns what it returns. Each of its steps has a bound."""
        self.process.stdin.write(json.dumps({"script": script, "given": given}) + "\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError(f"node ended with {self.process.wait(10)}")
        answer = json.loads(line)
        if "error" in answer:
            raise AssertionError(answer["error"])
        return answer["result"]

    def open(self, url: str, **options):
        """Opens a page, in a browser that has never been there."""
        self.run("await open(given.url, given.options)", url=url, options=options)

    def text(self, selector: str) -> str:
        """What is to be read there."""
        return self.run("return page.locator(given.selector).innerText()", selector=selector)

    def texts(self, selector: str) -> list[str]:
        """What is to be read in each of those elements."""
        return self.run("return page.locator(given.selector).allInnerTexts()", selector=selector)

    def reads(self, selector: str, wanted: str, seconds: float = 10):
        """Waits until that is to be read there."""
        eventually(lambda: wanted in self.text(selector), seconds, f"{wanted!r} in {selector}")

    def click(self, selector: str):
        self.run("await page.locator(given.selector).click()", selector=selector)

    def fill(self, selector: str, text: str):
        self.run("await page.locator(given.selector).fill(given.text)", selector=selector, text=text)

    def picture(self, name: str, whole: bool = True):
        """Leaves a picture, if somebody wants to look at it."""
        if PICTURES:
            path = pathlib.Path(PICTURES) / f"{name}.png"
            self.run("await page.screenshot({path: given.path, fullPage: given.whole})", path=str(path), whole=whole)

    def complaints(self) -> list[str]:
        """What the browser has complained of so far, taken off the list."""
        return self.run("return seen.complaints.splice(0)")
