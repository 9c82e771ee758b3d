// The architecture explorer: keeps the selection and shows it. The data is `window.EXPLORER`.
(function () {
  "use strict";
  const spec = window.EXPLORER;
  const part = (id) => document.getElementById(id);
  const state = { net: "resnet50", block: "layer2.0", layer: "conv2" };
  const loaded = new Set();

  function html(name, attributes = {}, ...children) {
    const made = document.createElement(name);
    for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
    made.append(...children);
    return made;
  }

  // All blocks of an architecture by name, each with the names of its run of equal blocks.
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

  // The last operation of a block has the block's own name.
  function layersOf(net, name) {
    const entry = blocksOf(net).get(name);
    const indices = entry ? entry.block.layers : name === "head" ? net.head : net.stem;
    return indices.map((index) => {
      const layer = spec.layers[index];
      const last = layer.kind === "Relu" ? "relu" : "output";
      return { ...layer, title: layer.name || last };
    });
  }

  const isBlock = (name) => /\.\d+$/.test(name);
  const fullName = (layer) =>
    [...(isBlock(state.block) ? [state.block] : []), ...(layer.name ? [layer.name] : [])].join(".");

  function choose(change) {
    Object.assign(state, change);
    settle();
    history.pushState(null, "", `#net=${state.net}&block=${state.block}&layer=${state.layer}`);
    draw();
  }

  // Replaces parts of the selection that are missing or that the architecture does not have.
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
    part("one-file").href = `one_file/${state.net}.html`;
    redraw("overview", window.Drawing.overview(partsOf(net), keyOf(net), (block) =>
      choose({ block, layer: null })));
    drawBlock(net);
    drawPanel(net);
  }

  // Replaces a drawing and keeps the focus on the same box.
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

  const lastOf = (layers) => spec.layers[layers[layers.length - 1]];

  function endOf(title, layers) {
    const shape = lastOf(layers).shape;
    const names = layers.map((index) => spec.layers[index].name);
    const lines = names.length > 4 ? [...names.slice(0, 3), "…"] : names;
    const stride = layers.some((index) => /stride [2-9]/.test(spec.layers[index].text)) ? 2 : 1;
    const box = { key: title, lines, stride, shortcut: null, extent: shape[1] || 1 };
    return { title, note: shape.join("×"), boxes: [box] };
  }

  function stageOf(stage) {
    let number = 0;
    const boxes = stage.blocks.map(([index, count]) => {
      const block = spec.blocks[index];
      const key = `${stage.name}.${number}`;
      const name = count > 1 ? `${number}…${number + count - 1}` : `${number}`;
      number += count;
      const lines = [name, ...(count > 1 ? [`×${count}`] : [])];
      if (block.stride > 1) lines.push(`stride ${block.stride}`);
      return { key, lines, stride: block.stride, shortcut: shortcutOf(block), extent: lastOf(block.layers).shape[1] };
    });
    const [last] = stage.blocks[stage.blocks.length - 1];
    return { title: stage.name, note: lastOf(spec.blocks[last].layers).shape.join("×"), boxes };
  }

  function shortcutOf(block) {
    if (block.plain) return null;
    if (!block.shortcut.length) return "identity";
    return block.shortcut.includes("Conv") ? "projection" : "zeros";
  }

  function partsOf(net) {
    const head = net.head.length ? [endOf("head", net.head)] : [];
    return [endOf("stem", net.stem), ...net.stages.map(stageOf), ...head];
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
    redraw("layers", window.Drawing.graph(layersOf(net, state.block), state.layer, (layer) =>
      choose({ layer })));
  }

  function drawPanel(net) {
    const layer = layersOf(net, state.block).find((each) => each.name === state.layer);
    const name = fullName(layer);
    part("panel").replaceChildren(
      html("h4", {}, html("code", {}, name), ` ${layer.kind}`, layer.text ? `, ${layer.text}` : ""),
      places(layer),
      table(["PyTorch", "Keras"], [
        ["shape", torchShape(layer.shape), kerasShape(layer.shape)],
        ...layer.tensors.map((tensor) => ["tensor", ...tensorNames(name, tensor)]),
      ]),
      figures(name),
    );
  }

  const torchShape = (shape) => html("code", {}, `(N, ${shape.join(", ")})`);
  const kerasShape = (shape) => html("code", {}, `(N, ${[...shape.slice(1), shape[0]].join(", ")})`);

  function tensorNames(name, [leaf, shape, variable, theirs]) {
    return [
      html("code", {}, `${name}.${leaf} (${shape.join(",")})`),
      html("code", {}, `${name.replaceAll(".", "_")}/${variable} (${theirs.join(",")})`),
    ];
  }

  // The first cell of each row is its header.
  function table(heads, rows, caption = "") {
    const titles = heads.map((text) => html("th", { scope: "col" }, text));
    const body = rows.map(([head, ...cells]) => html("tr", {}, html("th", { scope: "row" }, head),
      ...cells.map((cell) => html("td", {}, cell))));
    const made = html("table", {}, html("thead", {}, html("tr", {}, html("td"), ...titles)),
      html("tbody", {}, ...body));
    if (caption) made.prepend(html("caption", {}, caption));
    return html("div", { class: "scroll" }, made);
  }

  // The lines of each framework, and the definition that they call.
  function places(layer) {
    const made = html("div", { class: "places" });
    for (const [framework, indices] of Object.entries(layer.places)) {
      const column = html("div", { class: framework });
      for (const index of indices) {
        const [module, number, anchor, code] = spec.places[index];
        const href = `${spec.chapters[module]}.html#${anchor}`;
        const line = html("code", {});
        line.innerHTML = code;
        column.append(html("a", { href }, `resnet_${framework}/${module}.py:${number}`), line);
      }
      made.append(column);
    }
    if (layer.function) {
      const [module, name] = layer.function;
      const href = `${spec.chapters[module]}.html#${module}-${name}`;
      made.append(html("p", {}, html("a", { href }, html("code", {}, name))));
    }
    return made;
  }

  // The measured errors of this layer, if any, and the number of conformance vectors.
  function figures(name) {
    const { measured, nets, unit } = spec.figures;
    const made = html("div", { class: "parity" });
    if (measured.includes(state.net) && !loaded.has(state.net)) load(state.net);
    const errors = nets[state.net]?.taps[name];
    if (errors) {
      const { date, dtypes, image } = nets[state.net];
      const rows = dtypes.map((dtype, index) =>
        [dtype, ...errors.slice(2 * index, 2 * index + 2).map((error) => error.toExponential(1))]);
      made.append(table(["PyTorch", "Keras"], rows, `${unit}, ${image}, ${date}`));
    }
    made.append(html("p", {}, `${state.net}, conformance vectors: ${spec.vectors[state.net]}`));
    return made;
  }

  // Each architecture has a script of figures, because all of them together take a megabyte.
  function load(net) {
    loaded.add(net);
    const script = html("script", { src: `assets/figures/${net}.js` });
    script.addEventListener("load", () => state.net === net && drawPanel(spec.nets[net]));
    document.head.append(script);
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
  if (linked) part("explorer").scrollIntoView();
  for (const event of ["hashchange", "popstate"]) {
    addEventListener(event, () => {
      if (!readHash()) return;
      settle();
      draw();
    });
  }
})();
