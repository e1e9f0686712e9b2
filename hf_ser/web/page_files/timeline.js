// The waveform and the probabilities over time, as in hf_ser/demo/figures.py.
import {element, percent, styled} from "./elements.js";
import {peak} from "./windows.js";

const COLUMNS = 1200;
const MARKS = 24; // round marks of more windows would touch on a phone; they become strokes
const SVG = "http://www.w3.org/2000/svg";

/** Draw the smallest and largest sample of each column as one closed path. */
export function drawWaveform(samples, rate) {
  const size = Math.max(1, Math.ceil(samples.length / COLUMNS));
  const scale = Math.max(1e-3, peak(samples));
  const there = [], back = [];
  for (let column = 0; column * size < samples.length; column++) {
    let low = 1, high = -1;
    for (const sample of samples.subarray(column * size, (column + 1) * size)) {
      low = Math.min(low, sample);
      high = Math.max(high, sample);
    }
    there.push(`${column},${(50 - 48 * high / scale).toFixed(1)}`);
    back.unshift(`${column},${(50.5 - 48 * low / scale).toFixed(1)}`);
  }
  const drawn = document.createElementNS(SVG, "svg");
  drawn.setAttribute("viewBox", `0 0 ${Math.max(1, there.length - 1)} 100`);
  drawn.setAttribute("preserveAspectRatio", "none");
  drawn.setAttribute("class", "waveform");
  const polygon = drawn.appendChild(document.createElementNS(SVG, "polygon"));
  polygon.setAttribute("points", [...there, ...back].join(" "));
  const seconds = samples.length / rate;
  return element("div", {role: "img", "aria-label": `Waveform of the recording, ${seconds.toFixed(1)} s.`}, drawn,
    axis(0, seconds));
}

/** Draw the probability of every class in every window; the best is marked, silence is hatched. */
export function drawTimeline(windows, labels, colours, name) {
  const centres = windows.map(({start, end}) => (start + end) / 2);
  const first = windows[0].start, last = windows.at(-1).end;
  // Windows overlap: each is drawn between the midpoints to the centres of its neighbours.
  const edges = [first, ...centres.slice(1).map((centre, place) => (centre + centres[place]) / 2), last];
  const rows = labels.map((label, place) => {
    const cells = windows.map((window, column) => styled(cell(window, place), {flex: String(edges[column + 1] - edges[column])}));
    return styled(element("div", {class: "row"}, element("span", {class: "label", title: label}, label),
      element("span", {class: "cells"}, ...cells)), {"--bar": colours[place]});
  });
  return element("div", {class: windows.length > MARKS ? "lanes dense" : "lanes", role: "img", "aria-label": name}, ...rows,
    axis(first, last));
}

/** The numbers of the timeline as a table that opens on request. */
export function timelineTable(windows, labels) {
  const cells = ["seconds", "most probable"].map(text => element("th", {scope: "col"}, text));
  cells.push(...labels.map(label => element("th", {scope: "col", class: "number"}, label)));
  const rows = windows.map(({start, end, probabilities, error}) => {
    const row = element("tr", {}, element("th", {scope: "row"}, `${start.toFixed(1)} to ${end.toFixed(1)}`));
    if (probabilities === null) row.append(element("td", {colspan: labels.length + 1},
      error === undefined ? "silence" : "no answer"));
    else row.append(element("td", {}, labels[best(probabilities)]),
      ...probabilities.map(score => element("td", {class: "number"}, percent(score))));
    return row;
  });
  const title = "The timeline as a table";
  return element("details", {}, element("summary", {}, title),
    element("div", {class: "scroll", role: "region", "aria-label": title, tabindex: "0"},
      element("table", {class: "timeline"}, element("thead", {}, element("tr", {}, ...cells)),
        element("tbody", {}, ...rows))));
}

function cell({probabilities}, place) {
  if (probabilities === null) return element("i", {class: "silent"});
  const made = element("i", place === best(probabilities) ? {class: "best"} : {});
  return styled(made, {"--share": `${(100 * probabilities[place]).toFixed(1)}%`});
}

function best(probabilities) {
  return probabilities.indexOf(Math.max(...probabilities));
}

function axis(start, end) {
  const marks = [0, 1, 2, 3, 4].map(part => start + (end - start) * part / 4);
  const text = second => end >= 60
    ? `${Math.floor(Math.round(second) / 60)}:${String(Math.round(second) % 60).padStart(2, "0")}`
    : `${second.toFixed(1)} s`;
  return element("div", {class: "seconds"}, ...marks.map(second => element("span", {}, text(second))));
}
