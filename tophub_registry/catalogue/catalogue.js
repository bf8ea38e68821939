// Loading data, search, and the details of records.

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

function records(table, name) {
  return table.rows.map(([line, task, sizes, target, place, cost, flop], order) => {
    const row = {
      name, order, line, sizes, cost, flop, part: table.part,
      package: table.package, version: table.version,
      task: table.tasks[task], target: table.targets[target], place: table.places[place],
      rate: flop && cost >= 1e-12 ? flop / cost / 1e9 : null, // a shorter measurement means nothing
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
