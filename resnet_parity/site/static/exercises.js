// Marks the row that the reader picks as right or wrong, and opens the answer after a right one.
(function () {
  "use strict";
  const said = document.getElementById("said");
  document.addEventListener("click", (event) => {
    const row = event.target.closest(".exercise button.row");
    if (!row) return;
    const right = row.hasAttribute("data-right");
    row.classList.add(right ? "right" : "wrong");
    said.textContent = right ? "right" : "not this one";
    if (!right) return;
    const section = row.closest(".exercise");
    section.querySelectorAll("[data-right]").forEach((each) => each.classList.add("right"));
    section.querySelector(".answer").open = true;
  });
})();
