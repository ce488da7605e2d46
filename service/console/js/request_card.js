// The card with the request to copy: two tabs, one button.

import { byId } from "./dom.js";
import { curl, python } from "./snippets.js";

const WRITERS = { curl, python };

export class RequestCard {
  #language = "curl";
  #request = null;

  constructor() {
    for (const name of Object.keys(WRITERS)) {
      const tab = byId(`tab-${name}`);
      tab.addEventListener("click", () => this.#choose(name));
      tab.addEventListener("keydown", (event) => {
        if (event.key === "ArrowLeft" || event.key === "ArrowRight") this.#choose(name === "curl" ? "python" : "curl", true);
      });
    }
    byId("copy").addEventListener("click", () => this.#copy());
  }

  show(operation, query, picture) {
    this.#request = [operation, query, picture];
    byId("snippet").textContent = WRITERS[this.#language](...this.#request);
  }

  #choose(name, focus = false) {
    this.#language = name;
    for (const other of Object.keys(WRITERS)) {
      byId(`tab-${other}`).setAttribute("aria-selected", String(other === name));
      byId(`tab-${other}`).tabIndex = other === name ? 0 : -1;
    }
    byId("snippet").setAttribute("aria-labelledby", `tab-${name}`);
    if (focus) byId(`tab-${name}`).focus();
    this.show(...this.#request);
  }

  async #copy() {
    const button = byId("copy");
    try {
      await navigator.clipboard.writeText(byId("snippet").textContent);
      button.textContent = "Copied";
    } catch {
      // Not on HTTPS or loopback: then it is selected, and Ctrl-C is the reader's.
      getSelection().selectAllChildren(byId("snippet"));
      button.textContent = "Selected";
    }
    setTimeout(() => (button.textContent = "Copy"), 1500);
  }
}
