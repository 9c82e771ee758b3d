// The living spec: what was chosen, and what is shown of it. The data is `window.LIVING_SPEC`.
(function () {
  "use strict";
  const spec = window.LIVING_SPEC;
  const part = (id) => document.getElementById(id);
  const state = { net: "resnet50", block: "layer2.0", layer: "conv2" };

  function html(name, attributes = {}, ...children) {
    const made = document.createElement(name);
    for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
    made.append(...children);
    return made;
  }

  // All blocks of a net by name, and of each the names of those that are alike and follow it.
  function blocksOf(net) {
    const found = new Map();
    for (const stage of net.stages) {
      let number = 0;
      for (const [index, count] of stage.blocks) {
        const names = Array.from({ length: count }, (_, i) => `${stage.name}.${number + i}`);
        for (const name of names) found.set(name, { block: spec.blocks[index], names });
        number += count;
      }
    }
    return found;
  }

  function layersOf(net, name) {
    const entry = blocksOf(net).get(name);
    const indices = entry ? entry.block.layers : name === "head" ? net.head : net.stem;
    return indices.map((index) => ({
      ...spec.layers[index],
      title: spec.layers[index].name || "relu",
    }));
  }

  const isBlock = (name) => /\.\d+$/.test(name);
  const fullName = (layer) =>
    [...(isBlock(state.block) ? [state.block] : []), ...(layer.name ? [layer.name] : [])].join(".");

  function choose(change) {
    Object.assign(state, change);
    settle();
    history.replaceState(null, "", `#net=${state.net}&block=${state.block}&layer=${state.layer}`);
    draw();
  }

  // What the choice does not name, or the net does not have.
  function settle() {
    if (!Object.hasOwn(spec.nets, state.net)) state.net = "resnet50";
    const net = spec.nets[state.net];
    const blocks = blocksOf(net);
    if (!blocks.has(state.block) && !["stem", "head"].includes(state.block)) {
      state.block = blocks.keys().next().value;
    }
    const layers = layersOf(net, state.block);
    if (!layers.some((layer) => layer.name === state.layer)) state.layer = layers[0].name;
  }

  function draw() {
    const net = spec.nets[state.net];
    part("net").value = state.net;
    part("facts").textContent =
      `${net.parameters.toLocaleString("en")} parameters, ` +
      `${(net.macs / 1e9).toFixed(2)} GMACs at ${net.image.slice(1).join("×")}; ${net.source}`;
    redraw("overview", window.Picture.overview(partsOf(net), keyOf(net), (block) =>
      choose({ block, layer: null })));
    drawBlock(net);
    drawPanel(net);
  }

  // A drawing takes the place of the last one; where the focus was, it stays.
  function redraw(id, drawing) {
    const place = part(id);
    const boxes = [...place.querySelectorAll(".box")];
    const focus = boxes.indexOf(document.activeElement);
    place.replaceChildren(drawing);
    if (focus >= 0) place.querySelectorAll(".box")[focus]?.focus({ preventScroll: true });
  }

  function keyOf(net) {
    const entry = blocksOf(net).get(state.block);
    return entry ? entry.names[0] : state.block;
  }

  function partsOf(net) {
    const last = (layers) => spec.layers[layers[layers.length - 1]];
    const end = (title, layers) => {
      const shape = last(layers).shape;
      const lines = layers.map((index) => spec.layers[index].name).slice(0, 4);
      return { title, note: shape.join("×"), boxes: [{ key: title, lines, extent: shape[1] || 1 }] };
    };
    const stages = net.stages.map((stage) => {
      let number = 0;
      let shape = [];
      const boxes = stage.blocks.map(([index, count]) => {
        const block = spec.blocks[index];
        shape = last(block.layers).shape;
        const key = `${stage.name}.${number}`;
        const name = count > 1 ? `${number}…${number + count - 1}` : `${number}`;
        number += count;
        const lines = [name, ...(count > 1 ? [`×${count}`] : [])];
        if (block.stride > 1) lines.push(`stride ${block.stride}`);
        return { key, lines, block, extent: shape[1] };
      });
      return { title: stage.name, note: shape.join("×"), boxes };
    });
    return [end("stem", net.stem), ...stages, ...(net.head.length ? [end("head", net.head)] : [])];
  }

  function drawBlock(net) {
    const entry = blocksOf(net).get(state.block);
    const names = entry ? entry.names : [];
    part("block-title").textContent = entry
      ? [entry.block.kind, entry.block.first ? "preactivation" : "", entry.block.se ? "gate" : ""]
        .filter(Boolean).join(", ")
      : state.block;
    part("instance").hidden = !entry;
    part("instance").replaceChildren(...names.map((name) => html("option", {}, name)));
    part("instance").value = state.block;
    redraw("layers", window.Picture.graph(layersOf(net, state.block), state.layer, (layer) =>
      choose({ layer })));
  }

  function drawPanel(net) {
    const layer = layersOf(net, state.block).find((each) => each.name === state.layer);
    const name = fullName(layer);
    part("panel").replaceChildren(
      html("h4", {}, html("code", {}, name), ` ${layer.kind}`, layer.text ? `, ${layer.text}` : ""),
      shapeLine(layer),
      places(layer),
      ...(layer.tensors.length ? [tensors(layer, name)] : []),
      figures(name),
    );
  }

  const torchShape = (shape) => `(N, ${shape.join(", ")})`;
  const kerasShape = (shape) => `(N, ${[...shape.slice(1), shape[0]].join(", ")})`;

  function table(heads, rows) {
    const head = html("tr", {}, ...heads.map((text) => html("th", { scope: "col" }, text)));
    const body = rows.map((cells) => html("tr", {}, ...cells.map((cell) => html("td", {}, cell))));
    const made = html("table", {}, html("thead", {}, head), html("tbody", {}, ...body));
    return html("div", { class: "scroll" }, made);
  }

  function shapeLine(layer) {
    const shapes = html("p", { class: "shapes" });
    shapes.append(html("code", { class: "torch" }, torchShape(layer.shape)), " ");
    shapes.append(html("code", { class: "keras" }, kerasShape(layer.shape)));
    return shapes;
  }

  // The line of each hand, and the definition in the chapter of layers that it calls.
  function places(layer) {
    const made = html("div", { class: "places" });
    for (const [hand, index] of Object.entries(layer.places)) {
      const [module, number, anchor, text] = spec.places[index];
      const page = spec.chapters[module];
      const link = html("a", { href: `${page}.html#${anchor}` }, `resnet_${hand}/${module}.py:${number}`);
      made.append(html("div", { class: hand }, link, html("code", {}, text)));
    }
    if (layer.function) {
      const href = `${spec.chapters.layers}.html#layers-${layer.function}`;
      made.append(html("p", {}, html("a", { href }, html("code", {}, layer.function))));
    }
    return made;
  }

  function tensors(layer, name) {
    const rows = layer.tensors.map(([leaf, shape, variable, kerasShapeOf]) => [
      html("code", {}, `${name}.${leaf} (${shape.join(",")})`),
      html("code", {}, `${name.replaceAll(".", "_")}/${variable} (${kerasShapeOf.join(",")})`),
    ]);
    return table(["PyTorch", "Keras"], rows);
  }

  // Parity of this very layer, where its net was measured; and what else is known of the net.
  function figures(name) {
    const net = spec.depth.nets[state.net];
    const made = html("div", { class: "parity" });
    const errors = net && net.taps[name];
    if (errors) {
      const rows = net.titles.map((title, index) => [title, errors[index].toExponential(1)]);
      made.append(table([`${spec.depth.unit}, ${net.image}`, spec.depth.date], rows));
    }
    const vectors = html("a", { href: "evidence.html" }, `${spec.vectors[state.net]}`);
    made.append(html("p", {}, `${state.net}, conformance vectors: `, vectors));
    return made;
  }

  function fill() {
    for (const [group, names] of Object.entries(spec.groups)) {
      const options = names.map((name) => html("option", {}, name));
      part("net").append(html("optgroup", { label: group }, ...options));
    }
    part("net").addEventListener("change", () => choose({ net: part("net").value }));
    part("instance").addEventListener("change", () => choose({ block: part("instance").value }));
  }

  function readHash() {
    const asked = new URLSearchParams(location.hash.slice(1));
    if (!asked.has("net")) return false;
    for (const key of Object.keys(state)) if (asked.has(key)) state[key] = asked.get(key);
    return true;
  }

  fill();
  const linked = readHash();
  settle();
  draw();
  if (linked) part("picture").scrollIntoView();
  addEventListener("hashchange", () => {
    if (!readHash()) return;
    settle();
    draw();
  });
})();
