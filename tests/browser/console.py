"""The console as its user handles it, and what stands on its canvases."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

import numpy as np
from numpy.typing import NDArray

from tests.browser.chromium import FilePayload, Page

TASKS = ("classify", "detect", "segment")


@dataclass
class ConsolePage:
    page: Page
    url: str

    def open(self, **query: str) -> None:
        """The Try page, with these wishes in its address; returns when the gateway has said what it has."""
        self.page.goto(f"/?{urlencode(query)}")
        self.page.wait_for_selector("#tiers .bar")

    def take(self, name: str, data: bytes, media_type: str = "image/jpeg") -> dict[str, Any]:
        """Picks the file as a user would. Returns the API's answer once the page shows it."""
        with self.page.expect_response(lambda r: r.url.split("?")[0].rsplit("/", 1)[-1] in TASKS) as waiting:
            self.page.set_input_files("#file", FilePayload(name=name, mimeType=media_type, buffer=data))
        return self._shown(waiting.value.json())

    def choose(self, selector: str) -> dict[str, Any]:
        """Clicks what leads to a new request. Returns the API's answer once the page shows it."""
        with self.page.expect_response(lambda r: r.url.split("?")[0].rsplit("/", 1)[-1] in TASKS) as waiting:
            self.page.click(selector)
        return self._shown(waiting.value.json())

    def _shown(self, document: dict[str, Any]) -> dict[str, Any]:
        self.page.wait_for_selector("body:not([aria-busy])")
        return document

    def overlay(self) -> NDArray[np.uint8]:
        """(h, w, 4) uint8: the canvas that is drawn over the picture."""
        return self._canvas("overlay")

    def picture(self) -> NDArray[np.uint8]:
        """(h, w, 4) uint8: the canvas with the picture."""
        return self._canvas("picture")

    def _canvas(self, identity: str) -> NDArray[np.uint8]:
        width, height, data = self.page.evaluate(
            """(id) => {
                const canvas = document.getElementById(id);
                const blank = new OffscreenCanvas(canvas.width, canvas.height);
                const copy = blank.getContext("2d", { willReadFrequently: true });
                copy.drawImage(canvas, 0, 0);
                const { data } = copy.getImageData(0, 0, canvas.width, canvas.height);
                let text = "";
                for (let i = 0; i < data.length; i += 8192) text += String.fromCharCode(...data.subarray(i, i + 8192));
                return [canvas.width, canvas.height, btoa(text)];
            }""",
            identity,
        )
        return np.frombuffer(base64.b64decode(data), np.uint8).reshape(height, width, 4)

    def labels(self) -> list[str]:
        """The rows of the answer, as they stand there."""
        return [text.strip() for text in self.page.locator("#predictions .prediction-label").all_inner_texts()]

    def answered_by(self) -> str:
        return self.page.locator(".candidates tr.chosen").get_attribute("data-model") or ""

    def set_range(self, selector: str, value: float, event: str = "input") -> None:
        """Moves a slider there, as dragging does."""
        self.page.eval_on_selector(
            selector,
            "(slider, [value, event]) => { slider.value = value;"
            " slider.dispatchEvent(new Event(event, { bubbles: true })); }",
            [value, event],
        )

    def scrolls_sideways(self) -> bool:
        answer: bool = self.page.evaluate("document.documentElement.scrollWidth > document.documentElement.clientWidth")
        return answer
