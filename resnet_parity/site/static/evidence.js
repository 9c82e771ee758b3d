// Shows one plot at a time; without this script all plots are visible.
(function () {
  "use strict";
  const select = document.getElementById("depth-net");
  const plots = [...document.querySelectorAll("figure.plot")];

  function show(name) {
    for (const plot of plots) plot.hidden = plot.id !== `depth-${name}`;
    select.value = name;
  }

  function named() {
    const plot = document.getElementById(location.hash.slice(1));
    return plot && plots.includes(plot) ? plot.id.slice("depth-".length) : null;
  }

  select.addEventListener("change", () => {
    show(select.value);
    history.replaceState(null, "", `#depth-${select.value}`);
  });
  addEventListener("hashchange", () => named() && show(named()));
  show(named() || select.value);
})();
