#!/usr/bin/env python
"""Takes the README's picture of the desk: `scripts/desk_screenshot.py http://127.0.0.1:8321 docs/desk.png`.

A desk with the sample notes and the coder of make demo must run there (make desk), with a record in which the note is
not reviewed yet. The file of the README was made smaller with pngquant --nofs 256.
"""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path

from playwright.sync_api import sync_playwright


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("url", help="of a running desk")
    parser.add_argument("out", type=Path, help="the PNG file")
    parser.add_argument("--note", default="hip_fracture", help="a part of its name (default: %(default)s)")
    parser.add_argument("--keys", default="araak", help="what is pressed before the picture (default: %(default)s)")
    parser.add_argument("--dark", action="store_true", help="in the dark theme")
    args = parser.parse_args()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1440, "height": 900}, color_scheme="dark" if args.dark else "light")
        page.set_default_timeout(300_000)
        page.add_init_script("localStorage.setItem('desk-name', 'anna')")
        page.goto(args.url)
        page.locator("#notes a").filter(has_text=args.note).click()
        page.wait_for_selector("body[data-evidence=known]")
        for key in args.keys:
            page.keyboard.press(key)
            page.wait_for_timeout(1000)  # the picture shows what the server has recorded
        args.out.parent.mkdir(parents=True, exist_ok=True)
        page.screenshot(path=args.out)
        browser.close()


if __name__ == "__main__":
    main()
