// The API key, if the gateway wants one: in this tab's sessionStorage, nowhere else.

const NAME = "vision-gateway-key";

export function apiKey() {
  try {
    return sessionStorage.getItem(NAME) ?? "";
  } catch {
    return "";
  }
}

export function authorization() {
  const key = apiKey();
  return key ? { Authorization: `Bearer ${key}` } : {};
}

/** Calls `changed` whenever another key, or none, is to be used. */
export function installKey(changed) {
  const [form, field, button, popover] = ["key-form", "key", "key-button", "key-popover"].map((id) => document.getElementById(id));
  const show = () => {
    button.classList.toggle("on", apiKey() !== "");
    button.setAttribute("aria-label", apiKey() ? "API key: set" : "API key: none");
  };
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    try {
      if (field.value.trim()) sessionStorage.setItem(NAME, field.value.trim());
      else sessionStorage.removeItem(NAME);
    } catch {
      // Without storage there is no key to send.
    }
    popover.hidePopover();
    show();
    changed();
  });
  popover.addEventListener("toggle", (event) => {
    if (event.newState !== "open") return;
    field.value = apiKey();
    field.focus();
  });
  show();
}
