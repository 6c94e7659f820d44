function key(text) {
  const found = /^(<\s*)?([-+]?\d[\d,]*(?:\.\d+)?(?:e[-+]?\d+)?)/.exec(text);
  return found ? Number(found[2].replaceAll(",", "")) - (found[1] ? 1e-9 : 0) : NaN;
}
function compare(a, b) {
  const x = key(a), y = key(b);
  return Number.isNaN(x) || Number.isNaN(y) ? Number.isNaN(x) - Number.isNaN(y) || a.localeCompare(b) : x - y;
}
function equip(holder) {
  const bodies = [...holder.querySelectorAll("table")].map(table => table.tBodies[0]);
  const rows = bodies.map(body => [...body.rows]);
  const fixed = rows[0].filter(row => row.classList.contains("baseline")).length;
  let order = rows[0].map((_, place) => place);
  const stripe = () => bodies.forEach((_, part) => {
    let seen = 0;
    order.forEach(place => { if (!rows[part][place].hidden) rows[part][place].classList.toggle("even", seen++ % 2 === 1); });
  });
  const sort = (part, column, sign) => {
    const text = place => rows[part][place].cells[column].textContent.trim();
    const empty = place => ["", "–"].includes(text(place));
    const moved = rows[0].map((_, place) => place).slice(fixed);
    moved.sort((a, b) => empty(a) - empty(b) || sign * compare(text(a), text(b)) || a - b);
    order = [...order.slice(0, fixed), ...moved];
    bodies.forEach((body, each) => body.append(...order.map(place => rows[each][place])));
    stripe();
  };
  holder.querySelectorAll("table").forEach((table, part) => {
    const last = table.tHead.rows.length - 1;
    const labels = last ? table.tHead.rows[0].querySelectorAll("th[rowspan]").length : 0;
    const heads = [...[...table.tHead.rows[0].cells].slice(0, labels), ...table.tHead.rows[last].cells];
    if (rows[0].length - fixed > 1) heads.forEach((head, column) => {
      const button = document.createElement("button");
      button.append(...head.childNodes);
      head.append(button);
      button.addEventListener("click", () => {
        const down = head.getAttribute("aria-sort") === "ascending";
        holder.querySelectorAll("[aria-sort]").forEach(other => other.removeAttribute("aria-sort"));
        head.setAttribute("aria-sort", down ? "descending" : "ascending");
        sort(part, column, down ? -1 : 1);
      });
    });
  });
  if (!holder.dataset.filter) return;
  const box = document.createElement("input"), found = document.createElement("output");
  Object.assign(box, {type: "search", className: "filter", placeholder: "show rows with ..."});
  box.setAttribute("aria-label", "Show the rows of " + holder.dataset.filter + " that hold these words");
  found.className = "found";
  box.addEventListener("input", () => {
    const words = box.value.toLowerCase().split(/\s+/).filter(Boolean);
    let left = 0;
    rows[0].forEach((_, place) => {
      const text = rows.map(part => part[place].textContent.toLowerCase().replaceAll("\u00a0", " ")).join(" ");
      const shown = words.every(word => text.includes(word));
      rows.forEach(part => { part[place].hidden = !shown; });
      left += shown;
    });
    found.textContent = words.length ? `${left} of ${rows[0].length} rows` : "";
    stripe();
  });
  holder.parentElement.querySelector("figcaption").after(box, found);
}
document.querySelectorAll(".parts").forEach(equip);

const places = [...document.querySelectorAll("nav a")].map(link => [link, document.getElementById(link.hash.slice(1))]);
function mark() {
  if (!places.length) return;
  const above = places.filter(([, place]) => place.getBoundingClientRect().top < innerHeight / 3);
  places.forEach(([link]) => link.removeAttribute("aria-current"));
  (above.at(-1) ?? places[0])[0].setAttribute("aria-current", "true");
}
addEventListener("scroll", mark, {passive: true});
mark();
