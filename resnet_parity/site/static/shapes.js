// Shows beside each line the shape of its result, for a network and an image size of the reader.
(function () {
  "use strict";
  const spec = window.EXPLORER;
  const part = (id) => document.getElementById(`shapes-${id}`);
  const whole = part("form").dataset.part;

  // A stem or head, or every block of a network by name; each is a list of indices of layers.
  function partsOf(net) {
    if (whole === "model") return new Map([["", [...net.stem, ...net.head]]]);
    const found = new Map();
    for (const stage of net.stages) {
      let number = 0;
      for (const [index, count] of stage.blocks) {
        const last = number + count - 1;
        const name = count > 1 ? `${stage.name}.${number} ... ${last}` : `${stage.name}.${number}`;
        found.set(name, spec.blocks[index].layers);
        number += count;
      }
    }
    return found;
  }

  // Every layer rounds up, so the size of a map follows from its total stride.
  function extent(layer, height, width) {
    const [channels, ...map] = layer.shape;
    if (!map.length) return [channels];
    const size = (side) => (layer.reduction ? Math.ceil(side / layer.reduction) : 1);
    return [channels, size(height), size(width)];
  }

  function text(shape, framework) {
    const [channels, ...map] = shape;
    return `(N, ${(framework === "torch" ? shape : [...map, channels]).join(", ")})`;
  }

  function draw() {
    document.querySelectorAll(".shape").forEach((each) => each.remove());
    const size = ["height", "width"].map((side) => Math.trunc(Number(part(side).value)));
    if (!size.every((side) => side >= 1)) return;
    const parts = partsOf(spec.nets[part("net").value]);
    for (const index of parts.get(part("block").value) ?? []) {
      const layer = spec.layers[index];
      for (const [framework, indices] of Object.entries(layer.places)) {
        const anchor = spec.places[indices[indices.length - 1]][2];
        const line = document.getElementById(anchor);
        if (!line) continue;
        line.querySelector(".shape")?.remove();
        const label = document.createElement("span");
        label.className = "shape";
        label.textContent = text(extent(layer, ...size), framework);
        line.append(label);
      }
    }
  }

  function choose() {
    const names = [...partsOf(spec.nets[part("net").value]).keys()];
    part("block").replaceChildren(...names.map((name) => new Option(name)));
    part("block").hidden = names.length < 2;
    draw();
  }

  for (const [group, names] of Object.entries(spec.groups)) {
    const options = document.createElement("optgroup");
    options.label = group;
    options.append(...names.map((name) => new Option(name)));
    part("net").append(options);
  }
  part("net").value = "resnet50";
  part("net").addEventListener("change", () => {
    const [, height, width] = spec.nets[part("net").value].image;
    part("height").value = height;
    part("width").value = width;
    choose();
  });
  part("block").addEventListener("change", draw);
  for (const side of ["height", "width"]) part(side).addEventListener("input", draw);
  choose();
})();
