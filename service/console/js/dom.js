// Elements from a name and children; text is always text, never markup.

const SVG = "http://www.w3.org/2000/svg";

/** h("p.hint", { title: "…", onclick: f }, "text", element) */
export function h(name, attributes = {}, ...children) {
  return filled(document.createElement(name.split(".")[0]), name, attributes, children);
}

/** The same for SVG. */
export function s(name, attributes = {}, ...children) {
  return filled(document.createElementNS(SVG, name.split(".")[0]), name, attributes, children);
}

function filled(element, name, attributes, children) {
  const classes = name.split(".").slice(1);
  if (classes.length) element.setAttribute("class", classes.join(" "));
  for (const [key, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (typeof value === "function") element.addEventListener(key.slice(2), value);
    else element.setAttribute(key, value === true ? "" : value);
  }
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}

/** A style that is computed, set the one way that the page's policy allows. */
export function styled(element, properties) {
  for (const [name, value] of Object.entries(properties)) element.style.setProperty(name, value);
  return element;
}

export const byId = (id) => document.getElementById(id);

/** The text with places to break after its underscores: names of models are long. */
export function breakable(text) {
  return text.split(/(?<=_)/).flatMap((part, i) => (i ? [document.createElement("wbr"), part] : [part]));
}
