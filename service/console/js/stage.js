// The picture, upright, and what was found drawn over it on a canvas of its own.
// Boxes and masks come in pixels of the upright picture; the canvases are as large as they are shown, times the display's
// density, so that a picture of fifty megapixels costs no more to draw on than a small one.

import { css, inkOn } from "./colours.js";
import { byId, styled } from "./dom.js";
import { maskAt } from "./rle.js";

const LARGEST_ZOOM = 3;
const TINT = 0.45;
const DIMMED = 0.15;

export class Stage {
  #picture = byId("picture");
  #overlay = byId("overlay");
  #canvases = byId("canvases");
  #bitmap = null;
  #shown = [];
  #size = { width: 1, height: 1 };
  #masks = new WeakMap();
  #focused = null;

  constructor() {
    new ResizeObserver(() => this.#fit()).observe(byId("stage"));
  }

  /** Shows the picture, or that the browser cannot. `bitmap` is upright. */
  setPicture(bitmap, name) {
    this.#bitmap?.close();
    this.#bitmap = bitmap;
    this.#shown = [];
    byId("drop").hidden = true;
    this.#canvases.hidden = bitmap === null;
    byId("unshowable").hidden = bitmap !== null;
    byId("unshowable").textContent = `This browser cannot show ${name}. The gateway is asked all the same.`;
    this.#fit();
  }

  /** Draws these, the first on top; `size` is the picture's as the API says it. */
  draw(found, size) {
    this.#shown = found;
    this.#size = size;
    this.#paint();
  }

  /** Brings one of them out, or none. */
  focus(one) {
    this.#focused = one;
    this.#paint();
  }

  describe(text) {
    this.#canvases.setAttribute("aria-label", text);
  }

  #fit() {
    const bitmap = this.#bitmap;
    if (!bitmap) return;
    const stage = byId("stage");
    const room = { width: stage.clientWidth, height: Math.max(280, Math.min(innerHeight * 0.62, 640)) };
    const zoom = Math.min(room.width / bitmap.width, room.height / bitmap.height, LARGEST_ZOOM);
    const width = Math.max(1, Math.round(bitmap.width * zoom));
    const height = Math.max(1, Math.round(bitmap.height * zoom));
    const density = Math.min(devicePixelRatio || 1, 3);
    styled(this.#canvases, { width: `${width}px`, height: `${height}px` });
    for (const canvas of [this.#picture, this.#overlay]) {
      canvas.width = Math.round(width * density);
      canvas.height = Math.round(height * density);
    }
    const context = this.#picture.getContext("2d");
    context.imageSmoothingQuality = "high";
    context.drawImage(bitmap, 0, 0, this.#picture.width, this.#picture.height);
    this.#masks = new WeakMap();
    this.#paint();
  }

  #paint() {
    const { width, height } = this.#overlay;
    const context = this.#overlay.getContext("2d");
    context.clearRect(0, 0, width, height);
    if (!this.#bitmap) return;
    const backwards = [...this.#shown].reverse();
    const masked = backwards.filter((one) => one.rle);
    if (masked.length) context.putImageData(this.#tinted(masked, width, height), 0, 0);
    for (const one of backwards.filter((one) => one.box)) this.#drawBox(context, one);
    for (const one of backwards.filter((one) => one.box)) this.#drawTag(context, one);
  }

  #tinted(masked, width, height) {
    const image = new ImageData(width, height);
    for (const one of masked) {
      const mask = this.#maskOf(one, width, height);
      const alpha = Math.round(255 * (this.#isDimmed(one) ? DIMMED : TINT));
      const [red, green, blue] = one.colour;
      for (let i = 0; i < mask.length; i++) {
        if (!mask[i]) continue;
        image.data[4 * i] = red;
        image.data[4 * i + 1] = green;
        image.data[4 * i + 2] = blue;
        image.data[4 * i + 3] = mask[i] === 2 && !this.#isDimmed(one) ? 255 : alpha;
      }
    }
    return image;
  }

  /** 0 outside, 1 inside, 2 on the outline. */
  #maskOf(one, width, height) {
    let mask = this.#masks.get(one);
    if (!mask) {
      mask = maskAt(one.rle, width, height);
      markOutline(mask, width, height);
      this.#masks.set(one, mask);
    }
    return mask;
  }

  #isDimmed(one) {
    return this.#focused !== null && this.#focused !== one && this.#shown.includes(this.#focused);
  }

  #scale() {
    return { x: this.#overlay.width / this.#size.width, y: this.#overlay.height / this.#size.height, px: this.#overlay.width / this.#overlay.clientWidth || 1 };
  }

  #drawBox(context, one) {
    const { x, y, px } = this.#scale();
    const { xmin, ymin, xmax, ymax } = one.box;
    const inset = px;
    const rectangle = [xmin * x + inset, ymin * y + inset, (xmax - xmin) * x - 2 * inset, (ymax - ymin) * y - 2 * inset];
    context.globalAlpha = this.#isDimmed(one) ? 0.35 : 1;
    context.lineJoin = "round";
    context.strokeStyle = "rgb(0 0 0 / 0.55)";
    context.lineWidth = 4 * px;
    context.strokeRect(...rectangle);
    context.strokeStyle = css(one.colour);
    context.lineWidth = 2 * px;
    context.strokeRect(...rectangle);
    context.globalAlpha = 1;
  }

  #drawTag(context, one) {
    if (this.#isDimmed(one)) return;
    const { x, y, px } = this.#scale();
    const text = one.score === null ? one.label : `${one.label} ${one.score.toFixed(2)}`;
    context.font = `600 ${12 * px}px system-ui, sans-serif`;
    const width = context.measureText(text).width + 8 * px;
    const height = 17 * px;
    const left = Math.max(0, Math.min(one.box.xmin * x, this.#overlay.width - width));
    const above = one.box.ymin * y - height;
    const top = above >= 0 ? above : one.box.ymin * y;
    context.fillStyle = css(one.colour);
    context.fillRect(left, top, width, height);
    context.fillStyle = inkOn(one.colour);
    context.textBaseline = "middle";
    context.fillText(text, left + 4 * px, top + height / 2);
  }
}

function markOutline(mask, width, height) {
  const inside = (x, y) => x >= 0 && y >= 0 && x < width && y < height && mask[y * width + x] !== 0;
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      if (mask[y * width + x] && !(inside(x - 1, y) && inside(x + 1, y) && inside(x, y - 1) && inside(x, y + 1))) mask[y * width + x] = 2;
    }
  }
}
