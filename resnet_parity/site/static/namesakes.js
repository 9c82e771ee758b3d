// Marks the cells that differ from those of the chosen network.
(function () {
  "use strict";
  const against = document.getElementById("against");
  const rows = document.querySelectorAll(".facts tbody tr");

  against.addEventListener("change", () => {
    for (const row of rows) {
      const cells = [...row.querySelectorAll("td")];
      const chosen = cells[against.selectedIndex].innerHTML;
      for (const cell of cells) cell.classList.toggle("differs", cell.innerHTML !== chosen);
    }
  });
})();
