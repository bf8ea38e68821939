"use strict";
// Text out of logs and indexes only ever becomes text nodes and attributes' values: no markup is built from strings.

const waiting = new Map();

// Data files call this. A page from a folder can't read other files, but it can load them as scripts.
function catalogue(name, data) {
  waiting.get(name)?.resolve(data);
}

function load(name) {
  if (!waiting.has(name)) {
    const wait = {};
    wait.promise = new Promise((resolve, reject) => { wait.resolve = resolve; wait.reject = reject; });
    waiting.set(name, wait);
    const script = make("script", { src: `data/${name}.js` });
    script.addEventListener("error", () => { waiting.delete(name); wait.reject(new Error(`data/${name}.js can't be read`)); });
    document.head.append(script);
  }
  return waiting.get(name).promise;
}

function make(tag, attributes = {}, ...children) {
  const element = tag === "svg" || make.svg.has(tag)
    ? document.createElementNS("http://www.w3.org/2000/svg", tag) : document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}
make.svg = new Set(["path", "circle", "text", "g"]);

const number = (value) => value >= 100 ? Math.round(value).toLocaleString("en") : String(+value.toPrecision(3));
const seconds = (cost) => {
  if (cost === null) return "–";
  const [unit, size] = cost >= 1 ? ["s", 1] : cost >= 1e-3 ? ["ms", 1e-3] : ["µs", 1e-6];
  return `${number(cost / size)} ${unit}`;
};
const plural = (count, what) => `${count.toLocaleString("en")} ${what}${count === 1 ? "" : "s"}`;

// A query's words must all fit. Sizes (64x56x56, 512) fit whole numbers only: 3x3 does not find 13x3. `task:` is followed
// by a whole name.
function matcher(query) {
  const spelled = query.toLowerCase().replace(/[×*]/g, "x").replace(/[()[\]]/g, " ").replace(/(\d)\s*,\s*(?=\d)/g, "$1x");
  const tests = spelled.split(/\s+/).filter(Boolean).map((word) => {
    if (word.startsWith("task:")) return (row) => row.task.toLowerCase() === word.slice(5);
    if (!/^x?\d+(x\d+)*x?$/.test(word)) return (row) => row.text.includes(word);
    const [before, after] = [word.startsWith("x") ? "" : "(?:^|[^0-9.])", word.endsWith("x") ? "" : "(?![0-9.])"];
    const sizes = new RegExp(before + word + after);
    return (row) => sizes.test(row.text);
  });
  return (row) => tests.every((fits) => fits(row));
}

// A table of very many rows: sorted by any column, shown some at a time, each row with details on demand.
class List {
  constructor(columns, details) {
    this.columns = columns;
    this.details = details;
    this.column = null;
    this.down = false;
    this.body = make("tbody");
    this.more = make("button", { type: "button", class: "more" });
    this.more.addEventListener("click", () => this.grow());
    this.more.hidden = true;
    const heads = columns.map((column) => {
      const button = make("button", { type: "button" }, column.name);
      const head = make("th", { scope: "col", class: column.number ? "number" : "" }, button);
      button.addEventListener("click", () => {
        this.down = this.column === column ? !this.down : Boolean(column.down);
        this.column = column;
        heads.forEach((other) => other.removeAttribute("aria-sort"));
        head.setAttribute("aria-sort", this.down ? "descending" : "ascending");
        this.show(this.rows);
      });
      return head;
    });
    this.table = make("table", { class: "summary list" }, make("thead", {}, make("tr", {}, ...heads)), this.body);
    this.table.hidden = true;
    this.element = make("div", {}, this.table, this.more);
  }

  show(rows, atLeast = 0) {
    this.rows = rows;
    this.sorted = this.column ? [...rows].sort((a, b) => this.order(a, b)) : rows;
    this.body.replaceChildren();
    this.shown = 0;
    this.table.hidden = !rows.length;
    this.grow(Math.max(List.step, atLeast));
  }

  order(a, b) {
    const [one, other] = [this.column.key(a), this.column.key(b)];
    if (one === null || other === null) return (one === null) - (other === null); // unknown values come last
    return (this.down ? -1 : 1) * (typeof one === "number" ? one - other : one.localeCompare(other));
  }

  grow(count = List.step * 4) {
    this.body.append(...this.sorted.slice(this.shown, this.shown + count).map((row) => this.line(row)));
    this.shown = Math.min(this.sorted.length, this.shown + count);
    const rest = this.sorted.length - this.shown;
    this.more.hidden = !rest;
    this.more.textContent = `Show more (${rest.toLocaleString("en")} left)`;
  }

  line(row) {
    const cells = this.columns.map((column) => {
      const content = column.cell ? column.cell(row) : column.text(row);
      const kinds = [column.number && "number", column.kind, content === "–" && "none"].filter(Boolean).join(" ");
      return make("td", { class: kinds, "data-name": column.name }, content);
    });
    const line = make("tr", {}, ...cells);
    if (this.details) {
      const button = make("button", { type: "button", class: "open", "aria-expanded": "false" }, ...cells[0].childNodes);
      cells[0].append(button);
      button.addEventListener("click", () => this.toggle(row, line, button));
    }
    return line;
  }

  async toggle(row, line, button) {
    const open = button.getAttribute("aria-expanded") === "true";
    button.setAttribute("aria-expanded", String(!open));
    if (open) {
      line.nextSibling.remove();
      return;
    }
    const cell = make("td", { colspan: this.columns.length }, "loading …");
    line.after(make("tr", { class: "details" }, cell));
    try {
      cell.replaceChildren(await this.details(row));
    } catch (error) {
      cell.replaceChildren(make("p", { class: "bad" }, error.message));
    }
  }

  open(row) {
    const place = this.sorted.indexOf(row);
    if (place < 0) return;
    if (place >= this.shown) this.grow(place + 1 - this.shown);
    const line = [...this.body.rows].filter((each) => each.className !== "details")[place];
    const button = line.querySelector("button.open");
    if (button.getAttribute("aria-expanded") !== "true") button.click();
    line.scrollIntoView({ block: "start", behavior: "instant" });
  }
}
List.step = 25;

function records(table, name) {
  return table.rows.map(([line, task, sizes, target, place, cost, flop], order) => {
    const row = {
      name, order, line, sizes, cost, flop, part: table.part,
      package: table.package, version: table.version,
      task: table.tasks[task], target: table.targets[target], place: table.places[place],
      rate: cost && flop ? flop / cost / 1e9 : null,
    };
    row.text = [row.task, sizes, row.target, row.place, row.package, row.version].join(" ").toLowerCase();
    return row;
  });
}

function pairs(said) {
  return make("dl", { class: "facts" }, ...said.map(([name, ...value]) => make("div", {}, make("dt", {}, name), make("dd", {}, ...value))));
}

async function recordDetails(row) {
  const { knobs, shared, rows } = await load(`${row.name}/${Math.floor(row.order / row.part)}`);
  const [args, index, names, values, costs, measured, alike, own, earlier, cached] = rows[row.order % row.part];
  const entity = names in knobs ? knobs[names] : [];
  const spread = costs.length > 1 ? `, ${plural(costs.length, "repeat")} from ${seconds(Math.min(...costs))} to ${seconds(Math.max(...costs))}` : ", measured once";
  const config = make("dl", { class: "knobs" }, ...entity.map((knob, n) =>
    make("div", {}, make("dt", {}, knob), make("dd", { class: "value" }, values[n]))));
  const said = [
    ["cost", row.cost === null ? "the measurement failed" : seconds(row.cost) + spread],
    ...(row.rate ? [["rate", `${number(row.rate)} GFLOPS`]] : []),
    ["target", row.target],
    ...[...own, ...shared[alike]],
    ["timestamp", measured || "none"],
    ["arguments", make("span", { class: "value" }, args)],
    ["record", make("a", { href: `${row.name}.html#r${row.line}` }, `line ${row.line} of ${row.name}.log`)],
  ];
  const parts = [make("p", {}, make("strong", {}, `Config ${index}`)), config, pairs(said)];
  if (earlier.length && row.cost !== null) parts.push(past([...earlier, [row.version, row.cost, cached]]));
  return make("div", { class: "record" }, ...parts);
}

// The best record of the same workload and target in earlier versions, where it was another one.
function past(steps) {
  const [last, before] = [steps.at(-1), steps.at(-2)];
  if (last[1] === before[1] && last[2] === before[2]) steps.pop();
  if (steps.length < 2) return make("p", { class: "muted" }, `The same cost as in ${steps[0][0]}.`);
  const highest = Math.max(...steps.map(([, cost]) => cost));
  const mixed = new Set(steps.map(([, , cached]) => cached)).size > 1;
  const bars = steps.map(([version, cost, cached]) => make("div", {},
    make("span", { class: "label" }, version + (mixed && !cached ? " (cold)" : "")),
    make("span", { class: "track" }, make("span", { class: mixed && cached ? "other" : "faster", style: `width:${100 * cost / highest}%` })),
    make("span", { class: "number" }, seconds(cost))));
  const caption = "Cost in this and earlier versions" + (mixed ? "; those with cold weights can't be compared with the others" : "");
  return make("figure", { class: "histogram" }, make("figcaption", {}, caption), ...bars);
}

// Rates of the records found, over the arithmetic of their workloads; both scales are logarithmic.
function scatter(rows, available) {
  const points = rows.filter((row) => row.rate);
  if (points.length < 5) return "";
  const counts = new Map();
  for (const row of points) counts.set(row.task, (counts.get(row.task) ?? 0) + 1);
  const tasks = [...counts.keys()].sort((a, b) => counts.get(b) - counts.get(a)).slice(0, scatter.colours);
  const [width, height, left, bottom] = [Math.max(240, Math.min(available, 900)), 270, 58, 36];
  const scale = (values, from, to) => {
    const [low, high] = [Math.floor(Math.log10(Math.min(...values))), Math.ceil(Math.log10(Math.max(...values)) + 1e-9)];
    const place = (value) => from + (to - from) * (Math.log10(value) - low) / Math.max(high - low, 1);
    const step = Math.ceil((high - low) / 6) || 1;
    return [place, Array.from({ length: Math.floor((high - low) / step) + 1 }, (_, n) => 10 ** (low + n * step))];
  };
  const [x, across] = scale(points.map((row) => row.flop), left, width - 20);
  const [y, up] = scale(points.map((row) => row.rate), height - bottom, 10);
  const said = (value) => value >= 1e12 ? `${value / 1e12} T` : value >= 1e9 ? `${value / 1e9} G` : value >= 1e6 ? `${value / 1e6} M` : value >= 1e3 ? `${value / 1e3} k` : `${+value.toPrecision(1)}`;
  const svg = make("svg", { viewBox: `0 0 ${width} ${height}`, width, height, role: "img", class: "scatter",
    "aria-label": `Rates of ${points.length} records over the operations of their workloads` });
  const round = (place) => place.toFixed(1);
  for (const value of across) svg.append(make("path", { class: "tick", d: `M${round(x(value))} 10V${height - bottom}` }),
    make("text", { x: round(x(value)), y: height - bottom + 15, "text-anchor": "middle" }, said(value)));
  for (const value of up) svg.append(make("path", { class: "tick", d: `M${left} ${round(y(value))}H${width - 20}` }),
    make("text", { x: left - 6, y: round(y(value) + 4), "text-anchor": "end" }, value.toLocaleString("en")));
  svg.append(make("text", { x: width - 20, y: height - 3, "text-anchor": "end" }, "operations of the layer"));
  for (const row of points) {
    const colour = tasks.indexOf(row.task);
    const title = document.createElementNS("http://www.w3.org/2000/svg", "title");
    title.append(`${row.task} ${row.sizes}: ${number(row.rate)} GFLOPS`);
    svg.append(make("circle", { cx: round(x(row.flop)), cy: round(y(row.rate)), r: 2.5, class: `c${colour < 0 ? scatter.colours : colour}` }, title));
  }
  const named = [...tasks, ...(counts.size > tasks.length ? ["other tasks"] : [])];
  const legend = make("p", { class: "legend" }, ...named.map((task, n) => make("span", { class: `series c${n}` }, task)));
  return make("figure", {}, make("figcaption", {}, "GFLOPS of these records"), svg, legend);
}
scatter.colours = 7;

async function searchRecords(element) {
  const names = element.dataset.tables.split(" ");
  const [input, found] = [element.querySelector("input"), element.querySelector(".found")];
  const single = names.length === 1 && document.querySelector("#changes") !== null;
  const list = new List([
    { name: "task", text: (row) => row.task, key: (row) => row.task, kind: "name" },
    { name: "layer", text: (row) => row.sizes, key: (row) => row.flop, kind: "value sizes" },
    { name: "time", number: true, text: (row) => seconds(row.cost), key: (row) => row.cost },
    { name: "GFLOPS", number: true, down: true, text: (row) => row.rate ? number(row.rate) : "–", key: (row) => row.rate },
    { name: "device", text: (row) => `${row.place || row.target}${single ? "" : ` · ${row.package} ${row.version}`}`, key: (row) => row.place || row.target, kind: "muted" },
  ], recordDetails);
  const head = make("p", { class: "muted count" });
  const plot = make("div", { class: "plot" });
  found.append(head, plot, list.element);
  let [rows, matched, drawn] = [null, [], 0];
  const draw = () => {
    drawn = plot.clientWidth;
    plot.replaceChildren(scatter(matched, drawn));
  };
  addEventListener("resize", () => { if (plot.clientWidth !== drawn) draw(); });
  const all = async () => {
    if (rows === null) {
      head.textContent = "loading …";
      const tables = await Promise.all(names.map((name) => load(`${name}/records`)));
      rows = tables.flatMap((table, n) => records(table, names[n]));
    }
    return rows;
  };
  const show = async () => {
    const query = input.value.trim();
    found.hidden = !query && !single;
    if (found.hidden) return;
    try {
      const fits = matcher(query);
      const matches = (await all()).filter(fits);
      if (query !== input.value.trim()) return; // somebody has typed on
      head.textContent = matches.length ? plural(matches.length, "record") : `No record fits “${query}”.`;
      list.show(matches);
      matched = matches;
      draw();
    } catch (error) {
      head.textContent = error.message;
    }
  };
  const follow = async () => {
    const hash = location.hash.slice(1);
    const line = /^r(\d+)$/.exec(hash);
    if (hash.startsWith("q=")) {
      try { input.value = decodeURIComponent(hash.slice(2)); } catch { input.value = hash.slice(2); }
      await show();
      element.scrollIntoView({ behavior: "instant" });
    } else if (line && single) {
      input.value = "";
      await show();
      list.open(rows?.find((row) => row.line === Number(line[1])));
    }
  };
  let timer = 0;
  input.addEventListener("input", () => {
    clearTimeout(timer);
    timer = setTimeout(() => {
      const query = input.value.trim();
      history.replaceState(null, "", query ? `#q=${encodeURIComponent(query)}` : "#");
      show();
    }, 120);
  });
  element.querySelector("form").addEventListener("submit", (event) => { event.preventDefault(); show(); });
  addEventListener("hashchange", follow);
  if (/^#(q=|r\d)/.test(location.hash)) await follow();
  else await show();
  element.dataset.ready = "yes";
}

function listChanges(element) {
  element.querySelector("button").addEventListener("click", async () => {
    let table;
    try {
      table = await load(`${element.dataset.name}/changes`);
    } catch (error) {
      element.append(make("p", { class: "bad" }, error.message));
      return;
    }
    const rows = table.rows.map(([kind, task, sizes, target, before, after]) => ({
      kind, sizes, before, after, task: table.tasks[task], target: table.targets[target],
      speedup: before && after ? before / after : null,
    }));
    const list = new List([
      { name: "what", cell: (row) => make("span", { class: `change ${row.kind}` }, row.kind), key: (row) => row.kind },
      { name: "task", text: (row) => row.task, key: (row) => row.task, kind: "name" },
      { name: "layer", cell: (row) => make("span", {}, make("span", { class: "value" }, row.sizes), make("small", { class: "muted" }, row.target)), key: (row) => row.sizes, kind: "sizes" },
      { name: "before", number: true, text: (row) => seconds(row.before), key: (row) => row.before },
      { name: "after", number: true, text: (row) => seconds(row.after), key: (row) => row.after },
      { name: "times as fast", number: true, down: true, text: (row) => row.speedup ? row.speedup.toFixed(2) : "–", key: (row) => row.speedup },
    ]);
    const kinds = element.dataset.kinds.split(" ");
    const choice = make("select", { "aria-label": "What changed" }, make("option", { value: "" }, "all differences"),
      ...kinds.map((kind) => make("option", { value: kind }, kind)));
    choice.addEventListener("change", () => list.show(rows.filter((row) => !choice.value || row.kind === choice.value)));
    element.replaceChildren(choice, list.element);
    list.show(rows);
  });
}

document.querySelectorAll(".records").forEach(searchRecords);
document.querySelectorAll(".changes").forEach(listChanges);
