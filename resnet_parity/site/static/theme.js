// Sets the theme that was chosen last, or the system's, before the page is drawn.
(function () {
  "use strict";
  var chosen = null;
  try {
    chosen = localStorage.getItem("resnet-parity theme");
  } catch (error) {
    // A browser may deny storage to files.
  }
  var dark = chosen ? chosen === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  document.documentElement.dataset.theme = dark ? "dark" : "light";
})();
