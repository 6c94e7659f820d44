const held = new Map();
async function inflated(holder) {
  const bytes = Uint8Array.from(atob(holder.textContent), sign => sign.charCodeAt(0));
  return new Response(new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"))).text();
}
async function unpack(holder) {
  const {spec, datasets, shown} = JSON.parse(await inflated(holder));
  spec.datasets = {};
  for (const [name, {length, columns}] of Object.entries(datasets))
    spec.datasets[name] = Array.from({length}, (_, row) => {
      const record = {};
      for (const column in columns) record[column] = columns[column][row];
      return record;
    });
  held.set(holder.dataset.chart, {rows: spec.datasets[shown], columns: Object.keys(datasets[shown].columns)});
  return spec;
}
const options = {mode: "vega-lite", renderer: "svg", ast: true,
  actions: {export: true, source: false, compiled: false, editor: false}};
async function draw(holder) {
  const place = document.getElementById(holder.dataset.chart);
  try {
    await vegaEmbed(place, await unpack(holder), options);
    place.classList.add("drawn");
  } catch (error) {
    place.replaceChildren();
    console.error(holder.dataset.chart + ": " + error);
  }
  const link = document.querySelector(`button[data-of="${holder.dataset.chart}"]`);
  if (held.has(holder.dataset.chart)) link.hidden = false;
}
async function start() {
  const library = document.createElement("script");
  library.textContent = await inflated(document.getElementById("vega"));
  document.head.append(library);
  document.querySelectorAll("script[data-chart]").forEach(draw);
}
start();

const formula = /^(\s*[=+\-@\uff1d\uff0b\uff0d\uff20]|[\t\r\n])/, numbers = /^[-+][\d.][-+\d.,e%± ()[\]]*$/;
function quoted(value) {
  let text = value === null || value === undefined ? "" : typeof value === "object" ? JSON.stringify(value) : String(value);
  if (typeof value === "string" && formula.test(text) && !numbers.test(text)) text = "'" + text;  // a spreadsheet would run it
  return /[",\r\n]/.test(text) ? '"' + text.replaceAll('"', '""') + '"' : text;
}
document.querySelectorAll("button[data-of]").forEach(button => button.addEventListener("click", () => {
  const {rows, columns} = held.get(button.dataset.of);
  const lines = [columns, ...rows.map(row => columns.map(name => row[name]))].map(line => line.map(quoted).join(",") + "\n");
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob(lines, {type: "text/csv"}));
  link.download = button.dataset.name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
}));
