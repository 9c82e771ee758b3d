// Names of tensors: from the layers of an architecture to a dialect, and back from a list of names.
// It follows resnet_parity/weights/naming.py and identify.py; a test compares them.
window.NAMING = (function () {
  "use strict";
  const { dialects, nets, blocks, layers, refused } = window.NAMES;
  const PLACEHOLDER = /\{(\d*)([sbnjk])([+-]\d+)?(:a)?\}/g;
  const COUNTER = "num_batches_tracked";
  const LEAVES = ["weight", "bias", "running_mean", "running_var"];
  const order = Object.keys(nets);
  const [canonical] = Object.keys(dialects);

  // The template with its placeholders replaced.
  function fill(template, numbers) {
    return template.replace(PLACEHOLDER, (whole, factor, name, offset, letter) => {
      const number = Number(factor || 1) * numbers[name] + Number(offset || 0);
      return letter ? String.fromCharCode(97 + number) : String(number);
    });
  }

  // The name of a layer, null where the dialect has no name for its role.
  function layerName(dialect, role, numbers) {
    const { roles } = dialects[dialect];
    const keys = [`${role}@${numbers.s}`, `${role}.${numbers.j}`, role];
    if (role === "deep.end") keys.push("stem.norm");
    const key = keys.find((each) => each in roles);
    return key === undefined ? null : fill(roles[key], numbers);
  }

  // Every layer of an architecture: role, numbers, shape of its weight, number of other tensors.
  const known = new Map();
  function layersOf(net) {
    if (known.has(net)) return known.get(net);
    const found = [];
    const add = (indices, numbers, letter) => {
      for (const index of indices) {
        const [role, number, shape, others] = layers[index];
        found.push({ role, numbers: number ? { ...numbers, [letter]: number } : numbers, shape, others });
      }
    };
    const { stem, stages, head } = nets[net];
    let n = 0;
    add(stem, {}, "k");
    stages.forEach((runs, index) => {
      let b = 0;
      for (const [block, count] of runs) {
        for (let each = 0; each < count; each += 1, b += 1, n += 1) add(blocks[block], { s: index + 1, b, n }, "j");
      }
    });
    add(head, { n }, "j");
    known.set(net, found);
    return found;
  }

  // Every tensor: its layer, the last part of its canonical name, and its canonical axes and shape.
  function tensorsOf(net) {
    return layersOf(net).flatMap((layer) =>
      LEAVES.slice(0, 1 + layer.others).map((leaf) => {
        const isWeight = leaf === "weight";
        const shape = isWeight ? layer.shape : layer.shape.slice(0, 1);
        return { layer, leaf, shape, axes: { 4: "oihw", 2: "oi", 1: "c" }[shape.length] };
      }));
  }

  const leavesOf = (dialect, layer) =>
    layer.shape.length === 1 ? dialects[dialect].norm : dialects[dialect].layer;

  // The name of a tensor, null where the dialect stores none or has no name for its layer.
  function tensorName(dialect, tensor, prefix = "") {
    const template = leavesOf(dialect, tensor.layer)[tensor.leaf];
    const name = layerName(dialect, tensor.layer.role, tensor.layer.numbers);
    return template === undefined || name === null ? null : template.replace("{}", () => prefix + name);
  }

  function axesIn(dialect, tensor) {
    const [conv, linear] = dialects[dialect].axes;
    return { oihw: conv, oi: linear, c: "c" }[tensor.axes];
  }

  // The extents of a canonical shape in the axes of the dialect.
  const shapeIn = (dialect, tensor) =>
    [...axesIn(dialect, tensor)].map((axis) => tensor.shape[tensor.axes.indexOf(axis)] ?? 1);

  // Whether a dialect can name an architecture, apart from a classifier.
  const canName = (dialect, net) =>
    layersOf(net).every(({ role, numbers }) => role === "fc" || layerName(dialect, role, numbers) !== null);

  // The prefixes before the kernel of the second convolution of the first block.
  function prefixes(dialect, names) {
    const conv = layerName(dialect, "conv", { s: 1, b: 0, n: 0, j: 2 });
    const [start, end] = dialects[dialect].layer.weight.split("{}");
    const found = names.filter((name) => name.startsWith(start) && name.endsWith(conv + end))
      .map((name) => name.slice(start.length, name.length - conv.length - end.length));
    return [...new Set(found)].filter((prefix) => prefix === "" || "./".includes(prefix.at(-1)));
  }

  // How a list of names fits an architecture; `shapes` maps names to shapes, or to null.
  function read(dialect, prefix, shapes, net) {
    if (!canName(dialect, net)) return null;
    const named = tensorsOf(net).map((each) => [tensorName(dialect, each, prefix), each])
      .filter(([name]) => name !== null);
    const head = named.filter(([, each]) => each.layer.role === "fc");
    const headless = !head.some(([name]) => shapes.has(name));
    const names = new Map(headless ? named.filter((each) => !head.includes(each)) : named);
    const counters = dialects[dialect].norm.weight.endsWith(".weight")
      ? new Set([...names.keys()].map((name) => name.replace(/[^.]*$/, COUNTER))) : new Set();
    const biases = new Set(biasesBeforeNorms(dialect, prefix, net).filter((name) => shapes.has(name)));
    const missing = [...names.keys()].filter((name) => !shapes.has(name));
    const leftOver = [...shapes.keys()].filter((name) => !names.has(name) && !biases.has(name) && !counters.has(name));
    const misShaped = [...names].filter(([name, tensor]) => {
      const shape = shapes.get(name);
      return shape && !fits(shape, dialect, tensor);
    }).map(([name]) => name);
    const classes = head.length && !headless ? shapes.get(head.at(-1)[0])?.[0] : 0;
    const wrong = missing.length + misShaped.length;
    return { dialect, prefix, net, names, biases: [...biases], missing, leftOver, misShaped, classes, headless,
      rank: [wrong + leftOver.length, wrong, -names.size] };
  }

  // The names of biases of convolutions that the architecture has none for, before a norm.
  function biasesBeforeNorms(dialect, prefix, net) {
    const layers = layersOf(net);
    const isLast = layers.some(({ role }) => role === "last.norm");
    const roles = isLast ? ["deep.conv"] : ["stem", "deep.conv", "conv", "project", "pooled"];
    return layers.filter(({ role, others }) => roles.includes(role) && !others)
      .map((layer) => tensorName(dialect, { layer, leaf: "bias" }, prefix)).filter((name) => name !== null);
  }

  // The number of classes and of image channels may be any, and a 1x1 kernel may be dense.
  function fits(shape, dialect, tensor) {
    const { layer: { role, numbers }, leaf } = tensor;
    const wanted = shapeIn(dialect, tensor);
    if (shape.length !== wanted.length) {
      const inner = (role === "fc" ? tensor.shape.slice(1) : tensor.shape).filter((extent) => extent > 1);
      return ["fc", "gate"].includes(role) && inner.every((extent) => shape.includes(extent));
    }
    const isFirst = leaf === "weight" && (role === "stem" || (role === "deep.conv" && numbers.k === 1));
    const free = role === "fc" ? (leaf === "weight" ? "o" : "c") : isFirst ? "i" : "";
    const axes = axesIn(dialect, tensor);
    return wanted.every((extent, index) => extent === shape[index] || axes[index] === free);
  }

  const compare = (first, second) => {
    const place = first.findIndex((value, index) => value !== second[index]);
    return place < 0 ? 0 : first[place] - second[place];
  };

  const distance = ({ dialect, net }) => dialects[dialect].distances[order.indexOf(net)];

  // The architectures whose convolutions of blocks are all there; every one if there is none.
  function candidates(dialect, prefix, shapes, net) {
    const { weight } = dialects[dialect].layer;
    const isThere = ({ role, numbers }) => role !== "conv" ||
      shapes.has(weight.replace("{}", () => prefix + layerName(dialect, role, numbers)));
    const found = net ? [net] : order.filter((each) => layersOf(each).every(isThere));
    return found.length ? found : order;
  }

  // The best reading of each dialect and prefix, the best one first; empty if there is none.
  function identify(shapes, { net = null } = {}) {
    const found = [];
    const list = [...shapes.keys()];
    for (const dialect of Object.keys(dialects)) {
      for (const prefix of prefixes(dialect, list)) {
        const readings = candidates(dialect, prefix, shapes, net)
          .map((each) => read(dialect, prefix, shapes, each)).filter(Boolean)
          .sort((a, b) => compare(a.rank, b.rank) || distance(a) - distance(b));
        if (!readings.length) continue;
        const [best] = readings;
        const equal = readings.filter((each) => compare(each.rank, best.rank) === 0);
        found.push({ ...best, others: equal.slice(1).map((each) => each.net) });
      }
      if (found.some(({ rank }) => rank[0] === 0)) break;
    }
    return found.filter(({ rank, names }) => rank[1] < names.size).sort((a, b) => compare(a.rank, b.rank));
  }

  // Why a network is refused by the name of a tensor, null if it is not.
  function refusal(names) {
    for (const [pattern, reason] of refused) {
      const name = names.find((each) => new RegExp(pattern).test(each));
      if (name) return { name, reason };
    }
    return null;
  }

  // The names in a pasted text, with their shapes where it has some: JSON, a Python list or dict,
  // printed variables, or a name per line.
  function parse(text) {
    const found = new Map();
    const add = (name, shape) => {
      const plain = tidy(name);
      if (plain && !found.has(plain)) found.set(plain, shape);
    };
    try {
      const data = JSON.parse(text);
      if (Array.isArray(data)) data.forEach((each) => add(String(each), null));
      else for (const [name, value] of Object.entries(data)) if (name !== "__metadata__") add(name, shapeOf(value));
      return found;
    } catch {
      // It is no JSON.
    }
    const strings = [...text.matchAll(/(["'])([^"'\n]*)\1/g)];
    if (strings.length) {
      strings.forEach((match, index) => {
        const end = strings[index + 1]?.index ?? text.length;
        add(match[2], firstShape(text.slice(match.index + match[0].length, end)));
      });
      return found;
    }
    for (const line of text.split("\n")) {
      const path = line.match(/path=([^,\s>]+)/);
      const name = path ?? line.match(/([^\s,;=()[\]{}<>]+)/);
      if (name) add(name[1], firstShape(line.slice(name.index + name[0].length)));
    }
    return found;
  }

  const shapeOf = (value) => {
    const shape = Array.isArray(value) ? value : value?.shape;
    return Array.isArray(shape) && shape.every(Number.isInteger) ? shape : null;
  };

  // The first list of integers in a text.
  function firstShape(text) {
    const match = text.match(/[[(]\s*(\d+(?:\s*,\s*\d+)*)?\s*,?\s*[\])]/);
    return match ? (match[1] ?? "").split(",").filter(Boolean).map(Number) : null;
  }

  // Keras ends names with ":0", and in HDF5 files repeats the name of the layer.
  const tidy = (name) =>
    name.trim().replace(/:+$|:\d+$/, "").replace(/(^|\/)([^/]+)\/\2(?=\/[^/]+$)/, "$1$2");

  return { canonical, canName, identify, layersOf, parse, refusal, shapeIn, tensorName, tensorsOf };
})();
