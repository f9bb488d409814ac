"use strict";
// Draws the curves of the page from the JSON in #data. Plotly reads a little HTML in names, so these are escaped.

const DATA = JSON.parse(document.getElementById("data").textContent);
const COLORS = ["#0a84c6", "#e07b00", "#1a9c5b", "#d1495b", "#8e6bbf", "#8c6d46", "#d665a7", "#7f8790", "#a3a300", "#17aabf"];
const OF_TIME = { epoch: "epoch", step: "update", seconds: "seconds" };

const plain = (text) => String(text).replace(/&/g, "&amp;").replace(/</g, "&lt;").replace(/>/g, "&gt;");
const shown = (number) => Number(number.toPrecision(5)).toString();
const css = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
const columnsOf = (name) => DATA.entries.flatMap((entry) => entry.runs.map((run) => run.columns[name]).filter(Boolean));
const isNumeric = (name) => columnsOf(name).some((column) => column.some((value) => typeof value === "number"));
const isProfile = (name) => columnsOf(name).some((column) => column.some(Array.isArray));

function names() {
  const every = new Set(DATA.entries.flatMap((entry) => entry.runs.flatMap((run) => Object.keys(run.columns))));
  return [...every].filter((name) => !(name in OF_TIME) && (isNumeric(name) || isProfile(name)));
}

function learningNames() {
  const bases = [...new Set(names().filter((n) => /^(train|valid)_/.test(n)).map((n) => n.replace(/^(train|valid)_/, "")))];
  return bases.sort((a, b) => (b === DATA.metric) - (a === DATA.metric));
}

// The means over the seeds where all have a value at the same place, as one run.
function meanOf(runs, name, axis) {
  const columns = runs.map((run) => run.columns[name] || []);
  const length = Math.min(...columns.map((column) => column.length));
  const found = { x: [], y: [] };
  for (let at = 0; at < length; at++) {
    const values = columns.map((column) => column[at]);
    if (values.some((value) => typeof value !== "number")) continue;
    found.x.push(runs.reduce((sum, run) => sum + run.columns[axis][at], 0) / runs.length);
    found.y.push(values.reduce((sum, value) => sum + value, 0) / runs.length);
  }
  return found;
}

// A list of the last epoch, such as the angle of each step of time, by its place.
function profileOf(run, name) {
  const last = (run.columns[name] || []).filter(Array.isArray).pop() || [];
  return { x: last.map((_, at) => at + 1), y: last };
}

function pointsOf(run, name, axis) {
  return isProfile(name) ? profileOf(run, name) : { x: run.columns[axis], y: run.columns[name] || [] };
}

function trace(points, entry, nth, words, look) {
  const by = look.profile ? "time step" : OF_TIME[look.axis];
  return {
    x: points.x, y: points.y, name: plain(entry.label), legendgroup: String(nth), showlegend: look.legend,
    type: "scatter", mode: points.x.length > 40 ? "lines" : "lines+markers", marker: { size: look.thin ? 3 : 6 },
    line: { color: COLORS[nth % COLORS.length], width: look.thin ? 1 : 2.25, dash: look.dash }, opacity: look.thin ? 0.45 : 1,
    text: points.x.map((x, at) => typeof points.y[at] !== "number" ? "" :
      `<b>${plain(entry.label)}</b> ${words}<br>${plain(look.word)} ${shown(points.y[at])}<br>${by} ${shown(x)}`),
    hovertemplate: "%{text}<extra></extra>",
  };
}

function tracesOf(name, word, look) {
  const profile = isProfile(name);
  return DATA.entries.flatMap((entry, nth) => {
    const runs = entry.runs.filter((run) => run.columns[name]);
    const many = runs.length > 1 && !profile;
    const each = runs.map((run, which) => trace(pointsOf(run, name, look.axis), entry, nth, `seed ${run.seed}`,
      { ...look, word, profile, thin: many, legend: look.legend && !many && which === 0 }));
    if (!many) return each;
    const mean = meanOf(runs, name, look.axis);
    return [...each, trace(mean, entry, nth, `mean of ${runs.length} seeds`, { ...look, word, legend: look.legend })];
  });
}

function layoutOf(word, look, traces) {
  const last = traces.reduce((most, each) => Math.max(most, ...each.x), 0);
  const line = { gridcolor: css("--line"), zerolinecolor: css("--line"), linecolor: css("--line"), automargin: true };
  return {
    paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)",
    font: { color: css("--ink"), family: "system-ui, sans-serif", size: 13 },
    margin: { l: 56, r: 12, t: 12, b: 48 }, hovermode: "closest",
    hoverlabel: { bgcolor: css("--stripe"), bordercolor: css("--line"), font: { color: css("--ink") }, align: "left" },
    legend: { orientation: "h", yref: "container", yanchor: "bottom", y: 0, x: 0 }, showlegend: true,
    xaxis: { ...line, title: { text: look.by, standoff: 8 }, tickformat: ",",
      dtick: look.axis !== "seconds" && last <= 12 ? 1 : undefined }, // no tick between two epochs
    yaxis: { ...line, title: { text: plain(word), standoff: 8 }, type: look.log ? "log" : "linear",
      rangemode: look.log ? "normal" : "tozero", dtick: look.log ? "D2" : undefined, minorloglabels: "complete" },
    dragmode: matchMedia("(pointer: coarse)").matches ? false : "zoom", // a finger scrolls the page
    uirevision: "kept",
  };
}

function draw(section, learning) {
  const form = section.querySelector("form"), name = form.metric.value;
  const look = { axis: form.axis.value, log: form.log.checked, legend: true };
  const profile = !learning && isProfile(name);
  look.by = profile ? "time step, in the last epoch" : OF_TIME[look.axis];
  let traces = [];
  if (learning) {
    const splits = [["valid", "validation", "solid"], ["train", "training", "dot"]].filter(([split]) => split === "valid" || form.train.checked);
    const measured = splits.filter(([split]) => names().includes(`${split}_${name}`));
    traces = measured.flatMap(([split, words, dash], nth) =>
      tracesOf(`${split}_${name}`, `${words} ${name}`, { ...look, dash, legend: nth === 0 }));
  } else {
    traces = tracesOf(name, name.replace(/[_/]/g, " "), look);
  }
  const layout = layoutOf(learning ? DATA.axes[name] || name : name.replace(/[_/]/g, " "), look, traces);
  if (/^(angle|alignment)/.test(name)) {
    layout.shapes = [{ type: "line", xref: "paper", x0: 0, x1: 1, y0: 90, y1: 90, line: { color: css("--faint"), dash: "dash", width: 1 } }];
  }
  const options = {
    displaylogo: false, responsive: true, showTips: false, modeBarButtons: [["toImage", "zoom2d", "pan2d", "resetScale2d"]],
  };
  const chart = section.querySelector(".chart");
  const legend = DATA.entries.reduce((sum, entry) => sum + 8 * entry.label.length + 60, 0) / chart.clientWidth;
  chart.style.height = `${420 + 22 * Math.ceil(legend)}px`;
  Plotly.react(chart, traces, layout, options);
}

function start(id, choices, learning) {
  const section = document.getElementById(id), form = section.querySelector("form");
  section.hidden = choices.length === 0;
  if (section.hidden) return;
  form.metric.replaceChildren(...choices.map((name) => new Option(name.replace(/[_/]/g, " "), name)));
  form.addEventListener("submit", (event) => event.preventDefault());
  form.addEventListener("change", () => draw(section, learning));
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => draw(section, learning));
  draw(section, learning);
}

start("learning", learningNames(), true);
start("diagnostics", names().filter((name) => !/^(train|valid)_/.test(name)).sort((a, b) => (b === "angle") - (a === "angle")), false);
