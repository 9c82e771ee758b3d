// What every page can do: theme, copy, tags and anchors that open what they name, keys.
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
    try {
      localStorage.setItem("theme", theme);
    } catch (error) {
      // The choice then ends with the page.
    }
  }

  async function copy(button) {
    const lines = [...button.parentElement.querySelectorAll(".line > code")];
    const text = lines.map((line) => line.textContent).join("\n") + "\n";
    try {
      await navigator.clipboard.writeText(text);
    } catch (error) {
      const area = document.createElement("textarea");
      area.value = text;
      document.body.append(area);
      area.select();
      document.execCommand("copy");
      area.remove();
      button.focus();
    }
    button.textContent = "copied";
    say("copied");
    setTimeout(() => (button.textContent = "copy"), 1500);
  }

  // A hash may name a note, or something inside one.
  function openTarget() {
    const id = decodeURIComponent(location.hash.slice(1));
    const target = id && document.getElementById(id);
    if (!target) return;
    const details = target.closest("details");
    if (details) details.open = true;
    target.scrollIntoView({ block: target.classList.contains("line") ? "center" : "start" });
  }

  function openTag(tag) {
    const pair = tag.closest(".pair");
    const note = pair && [...pair.querySelectorAll(".note")].find((each) =>
      each.querySelector(".tag").textContent === tag.dataset.tag);
    if (!note) return;
    note.open = true;
    note.querySelector("summary").focus({ preventScroll: true });
    note.scrollIntoView({ block: "nearest" });
  }

  function step(forward) {
    const stops = [...document.querySelectorAll("section.pair, section.phrase, section.difference")];
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
    "[": () => follow("prev"),
    "]": () => follow("next"),
  };

  // On a narrow screen the list of pages scrolls.
  document.querySelector(".top li a[aria-current]")?.scrollIntoView({ inline: "center", block: "nearest" });

  document.getElementById("theme").addEventListener("click", toggleTheme);
  document.addEventListener("click", (event) => {
    const button = event.target.closest("button.copy");
    if (button) copy(button);
    const tag = event.target.closest("a[data-tag]");
    if (tag) {
      event.preventDefault();
      openTag(tag);
    }
  });
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.target.closest("input, select, textarea")) return;
    if (Object.hasOwn(KEYS, event.key)) KEYS[event.key]();
  });
  addEventListener("hashchange", openTarget);
  openTarget();

  // Paper cannot open what is closed.
  let closed = [];
  addEventListener("beforeprint", () => {
    closed = [...document.querySelectorAll("details:not([open])")];
    closed.forEach((each) => (each.open = true));
  });
  addEventListener("afterprint", () => closed.forEach((each) => (each.open = false)));
})();
