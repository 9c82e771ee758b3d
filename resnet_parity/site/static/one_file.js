// Opens the page of the chosen architecture, and saves a column as a file.
(function () {
  "use strict";

  document.getElementById("net").addEventListener("change", (event) => {
    location.href = `${event.target.value}.html`;
  });

  for (const button of document.querySelectorAll("button.download")) {
    button.addEventListener("click", () => {
      const lines = [...document.querySelectorAll(`.side.${button.dataset.side} .line > code`)];
      const text = lines.map((line) => line.textContent).join("\n") + "\n";
      const link = document.createElement("a");
      link.href = URL.createObjectURL(new Blob([text], { type: "text/x-python" }));
      link.download = button.dataset.file;
      link.click();
      URL.revokeObjectURL(link.href);
    });
  }
})();
