// Something done again and again while its view is shown and the page is looked at; never two at a time.

export class Poll {
  #work;
  #everyMs;
  #timer = null;
  #on = false;

  constructor(work, everyMs) {
    this.#work = work;
    this.#everyMs = everyMs;
    document.addEventListener("visibilitychange", () => this.#on && !document.hidden && this.start());
  }

  start() {
    this.stop();
    this.#on = true;
    this.#next();
  }

  stop() {
    this.#on = false;
    clearTimeout(this.#timer);
    this.#timer = null;
  }

  async #next() {
    const mine = (this.#timer = setTimeout(() => {}, 0));
    if (!document.hidden) await this.#work();
    if (this.#on && this.#timer === mine) this.#timer = setTimeout(() => this.#next(), this.#everyMs);
  }
}
