// The button that goes through: as the system says, light, dark.

const NEXT = { system: "light", light: "dark", dark: "system" };
const SAID = { system: "as the system says", light: "light", dark: "dark" };

export function installTheme(button) {
  let theme = document.documentElement.dataset.theme ?? "system";
  const show = () => {
    if (theme === "system") delete document.documentElement.dataset.theme;
    else document.documentElement.dataset.theme = theme;
    button.setAttribute("aria-label", `Colours: ${SAID[theme]}`);
    button.title = `Colours: ${SAID[theme]}`;
  };
  button.addEventListener("click", () => {
    theme = NEXT[theme];
    try {
      localStorage.setItem("theme", theme);
    } catch {
      // Then it holds until the page is left.
    }
    show();
    document.dispatchEvent(new CustomEvent("theme"));
  });
  show();
}
