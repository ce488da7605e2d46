// How a picture comes in: dropped, pasted, picked, or one of the samples.

import { byId, h } from "./dom.js";

export const SAMPLES = [
  { name: "chelsea.jpg", alt: "Chelsea, a tabby cat", credit: "Stéfan van der Walt, CC0", best: "classify" },
  { name: "coffee.jpg", alt: "A cup of espresso", credit: "Rachel Michetti, CC0", best: "classify" },
  { name: "astronaut.jpg", alt: "Astronaut Eileen Collins", credit: "NASA, public domain", best: "detect" },
  { name: "temple.jpg", alt: "A temple before trees and sky", credit: "danielbuechele, CC BY 2.0", best: "segment" },
  { name: "rocket.jpg", alt: "A Falcon 9 lifting off", credit: "SpaceX, public domain", best: "segment" },
];

/** Calls `taken({ blob, name, sample })` for every picture that comes in, and `failed(text)` where there is none. */
export function installIntake(taken, failed) {
  const file = byId("file");
  file.addEventListener("change", () => {
    if (file.files[0]) taken(ofFile(file.files[0]));
    file.value = "";
  });
  byId("drop").addEventListener("click", () => file.click());
  installDrop(taken, failed);
  document.addEventListener("paste", (event) => {
    if (event.target.closest?.("input, select, textarea")) return;
    const item = [...(event.clipboardData?.items ?? [])].find((item) => item.kind === "file");
    if (!item) return;
    event.preventDefault();
    taken(ofFile(item.getAsFile()));
  });
  byId("samples").replaceChildren(...SAMPLES.map((sample) => sampleButton(sample, taken, failed)));
}

/** The sample of that name as if it had been clicked. */
export async function takeSample(name, taken, failed) {
  const response = await fetch(`/console/samples/${name}`).catch(() => null);
  if (response?.ok) taken({ blob: await response.blob(), name, sample: name });
  else failed(`the sample ${name} could not be fetched`);
}

export function markSample(name) {
  for (const button of byId("samples").children) button.setAttribute("aria-pressed", String(button.dataset.name === name));
}

function ofFile(file) {
  return { blob: file, name: file.name || "picture", sample: null };
}

function sampleButton(sample, taken, failed) {
  return h(
    "button.sample",
    {
      type: "button",
      "data-name": sample.name,
      "aria-pressed": "false",
      title: `${sample.alt} (${sample.credit})`,
      onclick: () => takeSample(sample.name, taken, failed),
    },
    h("img", { src: `/console/samples/${sample.name}`, alt: sample.alt, loading: "lazy", width: 96, height: 64 }),
  );
}

function installDrop(taken, failed) {
  const card = byId("stage-card");
  let depth = 0; // dragenter and dragleave come for every child
  const mark = (change) => {
    depth = change === 0 ? 0 : Math.max(0, depth + change);
    card.classList.toggle("dropping", depth > 0);
  };
  addEventListener("dragover", (event) => event.preventDefault());
  addEventListener("dragenter", () => mark(1));
  addEventListener("dragleave", () => mark(-1));
  addEventListener("drop", (event) => {
    event.preventDefault();
    mark(0);
    const file = event.dataTransfer?.files[0];
    if (file) taken(ofFile(file));
    else failed("what was dropped is not a file; pictures on other sites must be saved first");
  });
}
