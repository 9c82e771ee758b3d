// The search field. Its data is a script, because a page that was opened as a file may not fetch.
(function () {
  "use strict";
  const field = document.getElementById("search");
  const list = document.getElementById("found");
  const root = field.dataset.root;
  const MOST = 12;
  // Names of tensors below a layer's name, in either framework.
  const LEAVES = /[./](weight|bias|running_(mean|var)|kernel|gamma|beta|moving_(mean|variance))$/;
  let entries = null;

  function load() {
    if (load.started) return;
    load.started = true;
    const script = document.createElement("script");
    script.src = `${root}assets/search_data.js`;
    script.addEventListener("load", () => {
      entries = window.SEARCH.map(([text, kind, href]) => ({ text, kind, href, key: keyOf(text) }));
      show();
    });
    document.head.append(script);
  }

  // "layer1_0_conv1/kernel" is Keras' name of what PyTorch calls "layer1.0.conv1.weight".
  const keyOf = (text) => text.toLowerCase().replaceAll(/[_/\s-]+/g, ".");

  function matches(query) {
    const key = keyOf(query.trim().replace(LEAVES, "")).replaceAll(/^\.+|\.+$/g, "");
    if (!key) return [];
    const score = (entry) =>
      entry.key === key ? 0 : entry.key.startsWith(key) ? 1 : entry.key.includes(key) ? 2 : 3;
    return entries.map((entry) => [score(entry), entry]).filter(([points]) => points < 3)
      .sort(([first], [second]) => first - second).map(([, entry]) => entry);
  }

  function show() {
    const found = entries && field.value.trim() ? matches(field.value) : null;
    list.hidden = found === null;
    field.setAttribute("aria-expanded", String(found !== null));
    if (!found) return;
    list.replaceChildren(...found.slice(0, MOST).map(item));
    if (found.length > MOST) list.append(note(`${found.length - MOST} more`));
    if (!found.length) list.append(note("nothing found"));
  }

  function item(entry) {
    const link = document.createElement("a");
    link.href = root + entry.href;
    link.append(entry.text, Object.assign(document.createElement("span"), { textContent: entry.kind }));
    const made = document.createElement("li");
    made.append(link);
    return made;
  }

  const note = (text) => Object.assign(document.createElement("li"), { className: "note", textContent: text });

  function move(step) {
    const links = [...list.querySelectorAll("a")];
    const next = links.indexOf(document.activeElement) + step;
    if (next < 0) field.focus();
    else links[Math.min(next, links.length - 1)]?.focus();
  }

  function close() {
    list.hidden = true;
    field.setAttribute("aria-expanded", "false");
  }

  const box = field.parentElement;
  field.addEventListener("focus", () => { load(); show(); });
  field.addEventListener("input", show);
  box.addEventListener("keydown", (event) => {
    if (event.key === "ArrowDown" || event.key === "ArrowUp") {
      move(event.key === "ArrowDown" ? 1 : -1);
      event.preventDefault();
    }
    if (event.key === "Escape") { field.value = ""; field.focus(); close(); }
    if (event.key === "Enter" && event.target === field) list.querySelector("a")?.click();
  });
  document.addEventListener("click", (event) => {
    if (!box.contains(event.target) || event.target.closest("#found a")) close();
  });
})();
