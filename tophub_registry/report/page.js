"use strict";

// The points of every task, as `points.py` writes them: [trial, seconds or null, rate or null, error or null, options].
const tasks = JSON.parse(document.getElementById("data").textContent);
const darkness = matchMedia("(prefers-color-scheme: dark)");

// Plotly interprets some HTML in its texts, and logs are untrusted.
const plain = (text) => text.replace(/&/g, "&amp;").replace(/</g, "&lt;").replace(/>/g, "&gt;");
const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
const digits = (value) => value.toLocaleString("en", { maximumSignificantDigits: 4 });

function unitOf(seconds) {
  return seconds > 2 * 3600 ? [3600, "hours"] : seconds > 180 ? [60, "minutes"] : [1, "seconds"];
}

function texts(task) {
  return task.points.map(([trial, , rate, error, options]) => {
    const head = `trial ${trial}: ${rate === null ? plain(task.errors[error]) : `${digits(rate)} ${task.unit}`}`;
    const knobs = options.map((option, knob) => {
      return option === null ? null : `${plain(task.knobs[knob][0])} ${plain(task.knobs[knob][1][option])}`;
    });
    return [head, ...knobs.filter((knob) => knob !== null)].join("<br>");
  });
}

function draw(element) {
  const task = tasks[element.dataset.task];
  const overTime = element.dataset.over === "time";
  const [size, unit] = overTime ? unitOf(task.points[task.points.length - 1][1]) : [1, "trials"];
  const x = task.points.map((point) => (overTime ? point[1] / size : point[0]));
  const text = texts(task);
  const end = x[x.length - 1];
  const good = [], failed = [], best = { x: [], y: [] };
  let rate = null;
  task.points.forEach((point, number) => {
    (point[2] === null ? failed : good).push(number);
    if (point[2] !== null && (rate === null || point[2] > rate)) {
      rate = point[2];
      best.x.push(x[number]);
      best.y.push(rate);
    }
  });
  if (rate !== null) {
    best.x.push(end);
    best.y.push(rate);
  }
  const level = (y, name, dash) => ({
    x: [0, end], y: [y, y], mode: "lines", name, hovertemplate: `${name}: ${digits(y)} ${task.unit}<extra></extra>`,
    line: { color: colour(name === "default config" ? "default" : "peak"), width: 1.5, dash },
  });
  const shown = { hoverinfo: "text" };
  const traces = [
    { ...shown, x: good.map((n) => x[n]), y: good.map((n) => task.points[n][2]), text: good.map((n) => text[n]),
      mode: "markers", marker: { color: colour("point"), size: 5, opacity: 0.75 } },
    { ...shown, x: failed.map((n) => x[n]), y: failed.map(() => 0), text: failed.map((n) => text[n]),
      mode: "markers", cliponaxis: false,
      marker: { symbol: "x-thin", size: 6, line: { color: colour("bad"), width: 1.5 } } },
    { ...best, mode: "lines", line: { color: colour("accent"), width: 2.5, shape: "hv" }, hoverinfo: "skip" },
  ];
  if (task.default !== null) traces.push(level(task.default, "default config", "dash"));
  if (task.peak !== null) traces.push(level(task.peak, "peak", "dot"));
  const axis = {
    color: colour("muted"), gridcolor: colour("line"), zeroline: false, rangemode: "tozero", automargin: true,
    title: { font: { size: 12 }, standoff: 8 },
  };
  const layout = {
    margin: { l: 10, r: 12, t: 26, b: 10 }, showlegend: false, hovermode: "closest", dragmode: "zoom",
    paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)",
    font: { family: "system-ui, sans-serif", size: 12, color: colour("text") },
    modebar: { bgcolor: "rgba(0,0,0,0)", color: colour("muted"), activecolor: colour("accent") },
    hoverlabel: { align: "left", bgcolor: colour("card"), bordercolor: colour("line"), font: { color: colour("text") } },
    xaxis: { ...axis, range: [0, end * 1.02], title: { ...axis.title, text: overTime ? `${unit} of tuning` : "trials" } },
    yaxis: { ...axis, title: { ...axis.title, text: task.unit } },
  };
  const buttons = [["toImage", "zoom2d", "pan2d", "resetScale2d"]];
  Plotly.newPlot(element, traces, layout, { displaylogo: false, responsive: true, modeBarButtons: buttons });
}

// A report may have hundreds of charts: only those on the screen, or close to it, are drawn.
const observer = new IntersectionObserver((entries) => {
  for (const { target, isIntersecting } of entries) {
    if (isIntersecting && !target.dataset.drawn) {
      target.dataset.drawn = "yes";
      draw(target);
    } else if (!isIntersecting && target.dataset.drawn) {
      delete target.dataset.drawn;
      Plotly.purge(target);
    }
  }
}, { rootMargin: "400px" });
document.querySelectorAll(".chart[data-task]").forEach((element) => observer.observe(element));
darkness.addEventListener("change", () => document.querySelectorAll(".chart[data-drawn]").forEach(draw));

for (const button of document.querySelectorAll(".summary th button")) {
  button.addEventListener("click", () => {
    const header = button.parentElement;
    const column = header.cellIndex;
    const down = header.getAttribute("aria-sort") ? header.getAttribute("aria-sort") === "ascending" : header.className === "number" && column > 0;
    header.parentElement.querySelectorAll("th").forEach((other) => other.removeAttribute("aria-sort"));
    header.setAttribute("aria-sort", down ? "descending" : "ascending");
    const key = (row) => row.cells[column].dataset.key ?? row.cells[column].textContent;
    const order = (a, b) => {
      if (!a || !b) return a ? -1 : b ? 1 : 0; // missing values come last in either order
      return (down ? -1 : 1) * (isNaN(a) || isNaN(b) ? a.localeCompare(b) : a - b);
    };
    const body = document.querySelector(".summary tbody");
    body.append(...[...body.rows].sort((a, b) => order(key(a), key(b))));
  });
}
