// Shared by all pages: theme, copy buttons, anchors that open their note, keys.
(function () {
  "use strict";
  const root = document.documentElement;
  const said = document.getElementById("said");

  function say(text) {
    said.textContent = text;
    clearTimeout(say.timer);
    say.timer = setTimeout(() => (said.textContent = ""), 1500);
  }

  function toggleTheme() {
    const theme = root.dataset.theme === "dark" ? "light" : "dark";
    root.dataset.theme = theme;
    remember("theme", theme);
  }

  // A browser may deny storage to files; a choice then lasts for one page.
  function remember(name, value) {
    try {
      localStorage.setItem(`resnet-parity ${name}`, value);
    } catch (error) {
      return;
    }
  }

  function recall(name) {
    try {
      return localStorage.getItem(`resnet-parity ${name}`);
    } catch (error) {
      return null;
    }
  }

  async function copy(button) {
    const lines = [...button.parentElement.querySelectorAll(".line > code")];
    const text = lines.map((line) => line.textContent).join("\n") + "\n";
    const copied = (await toClipboard(text)) ? "copied" : "not copied";
    button.textContent = copied;
    say(copied);
    setTimeout(() => (button.textContent = "copy"), 1500);
  }

  async function toClipboard(text) {
    try {
      await navigator.clipboard.writeText(text);
      return true;
    } catch (error) {
      const area = document.createElement("textarea");
      const focused = document.activeElement;
      area.value = text;
      document.body.append(area);
      area.select();
      const copied = document.execCommand("copy");
      area.remove();
      focused?.focus();
      return copied;
    }
  }

  // The hash may name a note or an element inside one.
  function openTarget() {
    const target = document.getElementById(unescaped(location.hash.slice(1)));
    if (!target) return;
    const details = target.closest("details");
    if (details) {
      details.open = true;
      details.querySelector("summary").focus({ preventScroll: true });
    }
    target.scrollIntoView({ block: target.classList.contains("line") ? "center" : "start" });
  }

  function unescaped(hash) {
    try {
      return decodeURIComponent(hash);
    } catch (error) {
      return hash;
    }
  }

  function step(forward) {
    const stops = [...document.querySelectorAll("section.pair, section.entry, section.difference")];
    const edge = parseFloat(getComputedStyle(root).scrollPaddingTop) || 0;
    const tops = stops.map((stop) => stop.getBoundingClientRect().top - edge);
    const index = forward
      ? tops.findIndex((top) => top > 2)
      : tops.length - 1 - [...tops].reverse().findIndex((top) => top < -2);
    const stop = stops[index];
    if (!stop) return;
    stop.scrollIntoView();
    stop.focus({ preventScroll: true });
  }

  function follow(relation) {
    const link = document.querySelector(`footer a[rel="${relation}"]`);
    if (link) link.click();
  }

  const KEYS = {
    j: () => step(true),
    k: () => step(false),
    t: toggleTheme,
    "/": () => document.getElementById("search").focus(),
    "[": () => follow("prev"),
    "]": () => follow("next"),
  };

  // On a narrow screen the list of pages scrolls. It does not use scrollIntoView, because then
  // Chromium starts the first Tab after the element and nothing before it can be reached.
  const current = document.querySelector(".top li a[aria-current]");
  if (current) {
    const list = current.closest("ul");
    const [inner, outer] = [current, list].map((each) => each.getBoundingClientRect());
    list.scrollLeft += (inner.left + inner.right - outer.left - outer.right) / 2;
  }

  // Single-letter keys can be turned off, because they disturb speech input.
  const keyboardSwitch = document.getElementById("keyboard");

  function setKeys(on) {
    keyboardSwitch.setAttribute("aria-pressed", on);
    remember("keys", on ? "on" : "off");
  }

  document.getElementById("theme").addEventListener("click", toggleTheme);
  keyboardSwitch.addEventListener("click", () => setKeys(keyboardSwitch.getAttribute("aria-pressed") !== "true"));
  if (recall("keys") === "off") setKeys(false);
  document.addEventListener("click", (event) => {
    const button = event.target.closest("button.copy");
    if (button) copy(button);
    // Following the same tag again does not change the hash.
    const tag = event.target.closest("a[data-tag]");
    if (tag && tag.getAttribute("href") === location.hash) openTarget();
  });
  document.addEventListener("keydown", (event) => {
    if (keyboardSwitch.getAttribute("aria-pressed") !== "true") return;
    if (event.ctrlKey || event.metaKey || event.target.closest("input, select, textarea")) return;
    if (!Object.hasOwn(KEYS, event.key)) return;
    event.preventDefault();
    KEYS[event.key]();
  });
  addEventListener("hashchange", openTarget);
  openTarget();

  // Opens all notes for printing.
  let closed = [];
  addEventListener("beforeprint", () => {
    closed = [...document.querySelectorAll("details:not([open])")];
    closed.forEach((each) => (each.open = true));
  });
  addEventListener("afterprint", () => closed.forEach((each) => (each.open = false)));
})();
