// One answer on the page, in the words of the Gradio demo.
import {element, percent, styled} from "./elements.js";
import {drawTimeline, drawWaveform, timelineTable} from "./timeline.js";
import {RATE} from "./audio.js";

const MOST_DRAWN = 1200; // windows
const UNSURE = 0.5; // below this, the other classes together are more probable than the best one

/** The answer in one sentence, for the heading and for screen readers. */
export function sentence(answer) {
  const {label, score} = answer.scores[0];
  return `${answer.abstained ? "Not sure. Closest" : "Sounds most like"}: ${label} (${percent(score)})`;
}

/**
 * Show the most probable class, a bar per class, the waveform and, if the recording is long, a timeline.
 * @param {object} answer
 * @param {?Float32Array} samples null for live speech, which is not kept
 */
export function answerCard(answer, samples, labels, colours) {
  const card = element("article", {}, element("h2", {class: "name"}, answer.file),
    element("p", {class: "answer"}, sentence(answer)));
  if (answer.abstained) {
    card.append(element("p", {}, `The probability is below the threshold of the model, ${percent(answer.threshold)}.`));
  } else if (answer.scores[0].score < UNSURE) {
    card.append(element("p", {}, "No class reaches 50 %: the answer is uncertain."));
  }
  if (answer.note) card.append(element("p", {}, answer.note));
  card.append(bars(answer.scores, labels, colours));
  if (samples) card.append(element("h3", {}, "The recording"), drawWaveform(samples, RATE));
  if (answer.windows.length > 1) {
    const name = "Probability of each class in every window of the recording; the table below has the same numbers.";
    const drawn = answer.windows.slice(-MOST_DRAWN), all = drawn.length === answer.windows.length;
    card.append(element("h3", {}, all ? "Over time" : `The last ${MOST_DRAWN} windows`),
      drawTimeline(drawn, labels, colours, name), timelineTable(drawn, labels));
  }
  return card;
}

/** Show why a recording has no answer. */
export function errorCard(name, message) {
  return element("article", {class: "error"}, element("h2", {class: "name"}, name), element("p", {}, `No answer: ${message}`));
}

/** A bar per class, best first. */
export function bars(scores, labels, colours) {
  const rows = scores.map(({label, score}, place) => styled(
    element("tr", place === 0 ? {class: "best"} : {},
      element("th", {scope: "row", title: label}, label),
      element("td", {class: "number"}, percent(score)),
      element("td", {class: "bar", "aria-hidden": "true"}, element("div", {class: "track"},
        styled(element("div", {class: "fill"}), {width: `${(100 * score).toFixed(1)}%`})))),
    {"--bar": colours[labels.indexOf(label)]}));
  return element("table", {class: "bars"}, element("caption", {}, "Probability of each class"),
    element("tbody", {}, ...rows));
}
