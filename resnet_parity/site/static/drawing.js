// Draws the architecture explorer: boxes, the lines between them, and their labels.
window.Drawing = (function () {
  "use strict";
  const NAMESPACE = "http://www.w3.org/2000/svg";

  function element(name, attributes = {}, ...children) {
    const made = document.createElementNS(NAMESPACE, name);
    for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
    made.append(...children);
    return made;
  }

  function text(x, y, content, style = "") {
    return element("text", { x, y, class: style }, content);
  }

  // A box that can be selected by mouse and by keyboard.
  function box({ x, y, width, height, style, label, lines, chosen, choose }) {
    const group = element("g", {
      class: `box ${style}`,
      role: "button",
      tabindex: 0,
      "aria-label": label,
      "aria-pressed": chosen,
    });
    group.append(element("rect", { x, y, width, height, rx: 4 }));
    const first = y + height / 2 - (lines.length - 1) * (LINE / 2);
    lines.forEach((line, index) =>
      group.append(text(x + width / 2, first + index * LINE, line, index ? "small" : "")));
    group.addEventListener("click", choose);
    group.addEventListener("keydown", (event) => {
      if (event.key !== "Enter" && event.key !== " ") return;
      event.preventDefault();
      choose();
    });
    return group;
  }

  function frame(width, height, title, ...children) {
    const svg = element(
      "svg",
      { viewBox: `0 0 ${width} ${height}`, width, height, role: "group", "aria-label": title },
      ...children,
    );
    // Arrow keys move from box to box.
    svg.addEventListener("keydown", (event) => {
      const forward = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
      if (!forward) return;
      const boxes = [...svg.querySelectorAll(".box")];
      const next = boxes[boxes.indexOf(document.activeElement) + forward];
      if (!next) return;
      event.preventDefault();
      next.focus();
    });
    return svg;
  }

  const LINE = 14;
  const BOX = 74;
  const GAP = 26;
  const APART = 40;
  const ROOM = 30; // above the highest box, for its shortcut

  // The height of a box: a step for every halving of the map, and room for its lines.
  function tall({ extent, lines }) {
    return Math.max(26 + 14 * Math.log2(extent + 1), LINE * lines.length + 10);
  }

  // `parts` are stem, stages and head; each has a title, a note and boxes.
  function overview(parts, chosen, choose) {
    const svg = [];
    const highest = Math.max(...parts.flatMap((part) => part.boxes.map(tall)));
    const middle = ROOM + highest / 2;
    const foot = ROOM + highest + 20;
    let x = 8;
    let before = null; // the right edge of the last box
    for (const part of parts) {
      const start = x;
      for (const each of part.boxes) {
        const height = tall(each);
        const y = middle - height / 2;
        if (before) svg.push(element("path", { class: "connection", d: `M${before} ${middle} H${x}` }));
        if (each.shortcut) svg.push(arc(each.shortcut, x - 8, x + BOX + 8, y - 14, middle));
        svg.push(box({
          x, y, width: BOX, height,
          style: each.stride > 1 ? "strided" : "",
          label: `${part.title}: ${each.lines.join(", ")}`,
          lines: each.lines,
          chosen: each.key === chosen,
          choose: () => choose(each.key),
        }));
        before = x + BOX;
        x += BOX + GAP;
      }
      const center = (start + before) / 2;
      svg.push(text(center, foot, part.title, "title"), text(center, foot + 16, part.note, "small"));
      x += APART - GAP;
    }
    return frame(before + 8, foot + 28, "Stages and blocks", ...svg);
  }

  // The shortcut of a block: an arc over its box, from the incoming to the outgoing line.
  function arc(style, left, right, top, middle) {
    const d = `M${left} ${middle} V${top + 10} q0 -10 10 -10 H${right - 10} q10 0 10 10 V${middle}`;
    return element("path", { class: `arc ${style}`, d });
  }

  const LAYER = 96;
  const BETWEEN = 18;
  const ROW = 66;
  const HALF = 22; // half of a box's height

  function rowOf(name) {
    if (name.startsWith("downsample")) return "shortcut";
    return /(^|\.)se\.(mean|fc\d|relu)$/.test(name) ? "gate" : "main";
  }

  // `layers` are in order; the input "<" is the input of the block.
  function graph(layers, chosen, choose) {
    const column = new Map([["<", 0]]);
    const row = new Map([["<", "main"]]);
    for (const layer of layers) {
      const before = layer.inputs.map((input) => column.get(input) ?? 0);
      column.set(layer.name, 1 + Math.max(...before));
      row.set(layer.name, rowOf(layer.name));
    }
    const sourceOf = (input) => (column.has(input) ? input : "<");
    const blocked = (from, to) => layers.some((each) =>
      row.get(each.name) === row.get(from) && row.get(from) === row.get(to) &&
      column.get(from) < column.get(each.name) && column.get(each.name) < column.get(to));
    const detours = layers.some(({ name, inputs }) =>
      inputs.some((input) => blocked(sourceOf(input), name)));
    const rows = new Set(row.values());
    const used = ["gate", "main", "shortcut"].filter((each) =>
      rows.has(each) || (each === "shortcut" && detours));
    const level = (name) => HALF + 6 + ROW * used.indexOf(row.get(name));
    const under = HALF + 6 + ROW * used.indexOf("shortcut");
    const left = (name) => (name === "<" ? 0 : 28 + (column.get(name) - 1) * (LAYER + BETWEEN));
    const right = (name) => (name === "<" ? 10 : left(name) + LAYER);
    const svg = [];
    for (const { name, inputs } of layers) {
      for (const from of inputs.map(sourceOf)) {
        const detour = blocked(from, name) ? under : null;
        const d = line(right(from), level(from), left(name), level(name), detour);
        svg.push(element("path", { class: "connection", d }));
      }
    }
    for (const layer of layers) {
      svg.push(box({
        x: left(layer.name), y: level(layer.name) - HALF, width: LAYER, height: 2 * HALF,
        style: layer.kind.toLowerCase(),
        label: `${layer.title}, ${layer.kind}`,
        lines: [layer.title, layer.shape.join("×")],
        chosen: layer.name === chosen,
        choose: () => choose(layer.name),
      }));
    }
    const width = Math.max(...layers.map((layer) => right(layer.name))) + 12;
    return frame(width, 2 * HALF + 12 + ROW * (used.length - 1), "Layers", ...svg);
  }

  // The line from one box to another; `detour` is the level of a free row to pass through.
  function line(x, y, toX, toY, detour) {
    const bend = BETWEEN / 2;
    if (detour) return `M${x} ${y} h${bend} V${detour} H${toX - bend} V${toY} h${bend}`;
    if (y === toY) return `M${x} ${y} H${toX}`;
    if (toY < y) return `M${x} ${y} H${toX - bend} V${toY} h${bend}`;
    return `M${x} ${y} h${bend} V${toY} H${toX}`;
  }

  return { overview, graph };
})();
