// The names page: the table of an architecture's names, and what the keys of a checkpoint are.
(function () {
  "use strict";
  const { dialects, groups, nets } = window.NAMES;
  const naming = window.NAMING;
  const MOST = 400;
  const LISTED = 30;
  const WAIT = 150;
  const part = (id) => document.getElementById(id);
  const boxes = [...part("dialects").querySelectorAll("input")];
  const state = { net: "resnet50", pasted: null, all: false };

  function html(tag, attributes, ...children) {
    const made = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
    made.append(...children);
    return made;
  }

  const code = (text) => html("code", {}, text);

  // The keys of a checkpoint as its framework lists them.
  const EXAMPLES = {
    torchvision: ["torchvision", "resnet18", "", true],
    "timm v2": ["timm-v2", "resnetv2_50", "", false],
    "Hugging Face": ["hf", "resnet50", "", true],
    MoCo: ["torchvision", "resnet50", "module.encoder_q.", false],
    Keras: ["keras-applications", "keras_resnet50", "", true],
  };

  function example(name) {
    const [dialect, net, prefix, withShapes] = EXAMPLES[name];
    return naming.tensorsOf(net).map((tensor) => {
      const key = naming.tensorName(dialect, tensor, prefix);
      return withShapes ? `${key} (${naming.shapeIn(dialect, tensor).join(", ")})` : key;
    }).join("\n");
  }

  // Reads what was pasted; the best reading chooses the architecture.
  function paste() {
    const shapes = naming.parse(part("keys").value);
    state.pasted = shapes.size ? shapes : null;
    if (state.pasted) {
      const [best] = naming.identify(shapes);
      if (best) choose(best.net);
    }
    draw();
  }

  function choose(net) {
    state.net = net;
    state.all = false;
    part("net").value = net;
    history.replaceState(null, "", `#net=${net}`);
  }

  // The reading of the pasted keys as the chosen architecture, and the other readings.
  function reading() {
    if (!state.pasted || naming.refusal([...state.pasted.keys()])) return [];
    return naming.identify(state.pasted, { net: state.net });
  }

  function draw() {
    const [best] = reading();
    drawReading(best);
    drawBoxes();
    drawTable(best);
  }

  function drawBoxes() {
    for (const box of boxes) box.disabled = !naming.canName(box.value, state.net);
    const able = boxes.filter((box) => !box.disabled);
    part("dialects").querySelector("span").textContent =
      `${able.filter((box) => box.checked).length} / ${able.length}`;
  }

  function drawReading(best) {
    const place = part("reading");
    place.replaceChildren();
    if (!state.pasted) return;
    const names = [...state.pasted.keys()];
    const refused = naming.refusal(names);
    const list = html("dl", {});
    const row = (term, ...values) => list.append(html("dt", {}, term), html("dd", {}, ...values));
    row("Keys", String(names.length));
    if (refused) row("Refused", `${refused.reason} (`, code(refused.name), ")");
    else if (!best) row("Dialect", "none that fits");
    else drawBest(best, row);
    place.append(list);
  }

  function drawBest(best, row) {
    const found = naming.identify(state.pasted);
    const shaped = [...state.pasted.values()].some(Boolean);
    row("Dialect", dialects[best.dialect].title);
    row("Prefix", best.prefix ? code(best.prefix) : "none");
    row(best.rank[1] ? "Nearest" : "Architecture", html("strong", {}, best.net), best.headless ? ", no classifier" : "",
      best.classes ? `, ${best.classes} classes` : "");
    const others = found.find(({ dialect, prefix }) => dialect === best.dialect && prefix === best.prefix);
    const equal = [...new Set(others ? [others.net, ...others.others] : [])].filter((net) => net !== best.net);
    if (equal.length) row(shaped ? "Same tensors" : "Same names", equal.join(", "));
    row("Assumed", dialects[best.dialect].assumes);
    row("Loaded", String(best.names.size - best.missing.length));
    listed("Missing", best.missing, row);
    listed("Left over", best.leftOver, row);
    listed("Other shape", best.misShaped, row);
    listed("Biases before norms", best.biases, row);
    const elsewhere = found.filter(({ prefix, rank }) => prefix !== best.prefix && rank[1] === 0);
    if (elsewhere.length) row("Other prefixes", ...elsewhere.flatMap(({ prefix }) => [code(prefix || "none"), " "]));
  }

  function listed(term, names, row) {
    if (!names.length) return;
    const more = names.length - LISTED;
    const items = [...names.slice(0, LISTED).map(code), ...(more > 0 ? [`${more} more`] : [])];
    const details = html("details", {}, html("summary", {}, String(names.length)),
      html("ul", {}, ...items.map((each) => html("li", {}, each))));
    row(term, details);
  }

  // A row per tensor: the key that was pasted, then the name in each dialect.
  function rows(best) {
    const columns = boxes.filter((box) => box.checked && !box.disabled).map((box) => box.value);
    const keys = best && new Map([...best.names].map(([name, tensor]) => [id(tensor), name]));
    return naming.tensorsOf(state.net).map((tensor) => {
      const names = [naming.canonical, ...columns].map((each) => naming.tensorName(each, tensor));
      if (!keys) return { names, tensor };
      const key = keys.get(id(tensor));
      return { names: [state.pasted.has(key) ? key : null, ...names], tensor };
    });
  }

  const id = (tensor) => naming.tensorName(naming.canonical, tensor);

  function drawTable(best) {
    const wanted = part("filter").value.trim().toLowerCase();
    const found = rows(best).filter(({ names }) =>
      !wanted || names.some((name) => name?.toLowerCase().includes(wanted)));
    const shown = state.all ? found : found.slice(0, MOST);
    const columns = boxes.filter((box) => box.checked && !box.disabled);
    const heads = [...(best ? ["your checkpoint"] : []), "canonical", ...columns.map((box) => dialects[box.value].title)];
    const head = html("tr", {}, ...[...heads, "shape"].map((each) => html("th", { scope: "col" }, each)));
    const body = shown.map(({ names, tensor }) => html("tr", {},
      ...names.map((name, index) => cell(name, index === (best ? 1 : 0))),
      html("td", {}, `(${tensor.shape.join(", ")})`)));
    part("names").replaceChildren(html("table", {}, html("thead", {}, head), html("tbody", {}, ...body)));
    part("count").textContent = `${found.length} tensors`;
    part("all").hidden = shown.length === found.length;
    part("all").textContent = `Show all ${found.length}`;
  }

  const cell = (name, isHead) => {
    const content = name === null ? "none" : code(name);
    return isHead ? html("th", { scope: "row" }, content) : html("td", name === null ? { class: "none" } : {}, content);
  };

  function readHash() {
    const net = new URLSearchParams(location.hash.slice(1)).get("net");
    if (!Object.hasOwn(nets, net ?? "")) return false;
    choose(net);
    return true;
  }

  for (const [group, names] of Object.entries(groups)) {
    part("net").append(html("optgroup", { label: group }, ...names.map((name) => html("option", {}, name))));
  }
  part("example").append(...Object.keys(EXAMPLES).map((name) => html("option", {}, name)));
  part("example").addEventListener("change", () => {
    if (part("example").value) part("keys").value = example(part("example").value);
    paste();
  });
  // A browser may report the lines of a long text one by one.
  let timer = 0;
  part("keys").addEventListener("input", () => {
    clearTimeout(timer);
    timer = setTimeout(paste, WAIT);
  });
  part("clear").addEventListener("click", () => {
    part("keys").value = part("example").value = "";
    paste();
    part("keys").focus();
  });
  part("net").addEventListener("change", () => { choose(part("net").value); draw(); });
  part("filter").addEventListener("input", draw);
  part("all").addEventListener("click", () => { state.all = true; draw(); });
  boxes.forEach((box) => box.addEventListener("change", draw));
  addEventListener("hashchange", () => readHash() && draw());
  if (!readHash()) part("net").value = state.net;
  draw();
})();
