"use strict";
for (const table of document.querySelectorAll("table.sortable")) {
  const body = table.tBodies[0], rows = Array.from(body.rows), heads = Array.from(table.tHead.rows[0].cells);
  const key = (row, column) => row.cells[column].dataset.value ?? row.cells[column].textContent.trim();
  const compare = {
    text: (one, other) => one.localeCompare(other, undefined, { numeric: true }),
    number: (one, other) => Number(one) - Number(other),
  };
  heads.forEach((head, column) => {
    if (!head.dataset.sort) return;
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    head.append(button);
    button.addEventListener("click", () => {
      const down = head.getAttribute("aria-sort") === "ascending";
      heads.forEach((other) => other.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", down ? "descending" : "ascending");
      const order = rows.map((row) => [key(row, column), row]);
      order.sort((one, other) => compare[head.dataset.sort](one[0], other[0]) * (down ? -1 : 1));
      body.append(...order.map((pair) => pair[1]));
    });
  });
  const form = document.querySelector(`form[data-table="${table.id}"]`);
  if (!form) continue;
  const words = form.querySelector("[data-filter=text]"), sure = form.querySelector("[data-filter=sure]");
  const texts = rows.map((row) => row.textContent.toLowerCase());
  const show = () => {
    const wanted = words.value.trim().toLowerCase();
    let count = 0;
    rows.forEach((row, place) => {
      row.hidden = !texts[place].includes(wanted) || (sure.value !== "" && row.dataset.sure !== sure.value);
      count += row.hidden ? 0 : 1;
    });
    form.querySelector("output").textContent = `${count.toLocaleString()} shown`;
  };
  form.addEventListener("input", show);
  form.addEventListener("submit", (event) => event.preventDefault());
  show();
}
