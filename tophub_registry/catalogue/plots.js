// Plots of records, drawn as they are found.

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
  const [width, height, left, bottom] = [Math.max(240, Math.min(available, 900)), 270, 68, 36];
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
    svg.append(make("circle", { cx: round(x(row.flop)), cy: round(y(row.rate)), r: points.length > 200 ? 2.5 : 3.5, class: `c${colour < 0 ? scatter.colours : colour}` }, title));
  }
  const named = [...tasks, ...(counts.size > tasks.length ? ["other tasks"] : [])];
  const legend = make("p", { class: "legend" }, ...named.map((task, n) => make("span", { class: `series c${n}` }, task)));
  return make("figure", {}, make("figcaption", {}, "GFLOPS of these records"), svg, legend);
}
scatter.colours = 7;
