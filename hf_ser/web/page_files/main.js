// The page: recordings are classified one after the other.
import {convertRecorded, decodeFile, RATE} from "./audio.js";
import {answerCard, errorCard, sentence} from "./answers.js";
import {csvText, jsonText, ranked} from "./answer_text.js";
import {element} from "./elements.js";
import {startRecording} from "./microphone.js";
import {Model} from "./model.js";
import {SoundError} from "./sound_error.js";
import {cut, mean, peak} from "./windows.js";

const found = id => document.getElementById(id);
const answers = [];
const waiting = []; // recordings: a name and a function that returns its samples
let page, model, working = false, opening = false, recording = null, recordings = 0;

function say(text, kind = "") {
  found("status").textContent = text;
  found("status").className = kind;
}

async function start() {
  say("Loading the model …", "busy");
  try {
    if (typeof WebAssembly !== "object") throw new Error("WebAssembly is turned off in this browser");
    const response = await fetch("page.json").catch(() => { throw new Error("page.json could not be downloaded"); });
    if (!response.ok) throw new Error(`page.json could not be downloaded (HTTP ${response.status})`);
    page = await response.json();
    describeModel();
    // Recordings may be given before the model is there: they wait.
    listen();
    await loadModel();
  } catch (error) {
    say(`The model cannot be loaded: ${error.message}. Reload the page, or use another browser.`, "error");
    return;
  }
  saveForOffline();
  if (waiting.length) work();
  else say("Ready. Choose a file, or record your voice.");
}

async function loadModel() {
  const {labels, min_samples, needs_mask} = page.model;
  const loaded = new Model({labels, min_samples, needs_mask});
  try {
    await loaded.load();
  } catch (error) {
    loaded.end();
    throw error;
  }
  model = loaded;
}

function describeModel() {
  const {model: {name, source, revision, licence, precision, labels, results_sha256}, about, warning} = page;
  found("model").textContent = [`${name ?? source ?? "Model"}.`, ...about.slice(0, 1)].join(" ");
  found("warning").textContent = warning;
  found("warning").hidden = !warning;
  const facts = {Name: name, Source: source, Revision: revision, Licence: licence, Precision: precision,
    Classes: labels.join(", "), "Hash of its results": results_sha256, About: about.slice(1).join(" ")};
  for (const [term, value] of Object.entries(facts)) {
    if (value) found("details").append(element("dt", {}, term), element("dd", {}, value));
  }
}

function listen() {
  found("record").disabled = false;
  found("record").addEventListener("click", () => (recording ? endRecording() : beginRecording()));
  found("files").addEventListener("change", event => {
    add(event.target.files);
    event.target.value = ""; // the same file can be chosen again
  });
  for (const name of ["dragover", "dragleave", "drop"]) {
    document.addEventListener(name, event => { // everywhere: a file beside the field would replace the page
      event.preventDefault();
      found("drop").classList.toggle("over", name === "dragover");
      if (name === "drop") add(event.dataTransfer.files);
    });
  }
  found("copy").addEventListener("click", () => navigator.clipboard.writeText(json()).then(
    () => say("Copied."), () => say("The browser does not allow copying. Download the answers instead.", "error")));
  found("json").addEventListener("click", () => save("answers.json", "application/json", json()));
  found("csv").addEventListener("click", () => save("answers.csv", "text/csv",
    csvText(answers, page.model.labels, page.warning, page.model.abstention_threshold !== null)));
  found("clear").addEventListener("click", clear);
}

function add(files) {
  for (const file of files) waiting.push({name: file.name, samples: () => decodeFile(file, page.limits)});
  if (!files.length) say("Nothing was added. Choose audio files.", "error");
  work();
}

/** Classify all that waits, one recording after the other. */
async function work() {
  if (working || !waiting.length || !model) return;
  working = true;
  let last;
  while (waiting.length) {
    const {name, samples} = waiting.shift();
    const rest = waiting.length ? ` (${waiting.length} more)` : "";
    say(`Classifying ${name}${rest} …`, "busy");
    last = await answer(name, samples, share => say(`Classifying ${name}: ${share}${rest} …`, "busy"));
    if (!model) break;
  }
  working = false;
  found("tools").hidden = answers.length === 0;
  say(last, answers.at(-1).error ? "error" : "");
}

async function answer(name, read, onProgress) {
  try {
    const samples = await read();
    const windows = await classify(samples, onProgress);
    const {labels, abstention_threshold: threshold} = page.model;
    const made = {file: name, scores: ranked(mean(windows), labels), windows};
    if (threshold !== null) Object.assign(made, {abstained: made.scores[0].score < threshold, threshold});
    answers.push(made);
    found("answers").prepend(answerCard(made, samples, labels, page.colours));
    return `${name}: ${sentence(made)}.`;
  } catch (error) {
    const isSound = error instanceof SoundError;
    const message = isSound ? error.message : `the model failed (${error.message}). Try a shorter recording.`;
    answers.push({file: name, error: message, reason: isSound ? error.reason : "model"});
    found("answers").prepend(errorCard(name, message));
    if (isSound) return `${name}: ${message}`;
    return restart(name, message);
  }
}

/** After a failure, memory may be used up: load the graph again. */
async function restart(name, message) {
  model.end();
  model = null;
  try {
    await loadModel();
    return `${name}: ${message}`;
  } catch {
    return `${name}: ${message} The model could not be loaded again. Reload the page.`;
  }
}

async function classify(samples, onProgress) {
  const windows = [];
  const parts = cut(samples.length, page.windows);
  for (const {start, end} of parts) {
    const piece = samples.slice(start, end);
    const probabilities = peak(piece) < page.limits.silence ? null : await model.run(piece);
    windows.push({start: start / RATE, end: end / RATE, probabilities});
    if (parts.length > 1) onProgress(`window ${windows.length} of ${parts.length}`);
  }
  return windows;
}

async function beginRecording() {
  if (opening) return;
  opening = true; // a disabled button would lose the focus
  say("Waiting for the microphone …", "busy");
  try {
    recording = await startRecording(showLevel, endRecording);
    found("record").textContent = "Stop";
    found("record").classList.add("recording");
    say("Recording. Speak now.");
  } catch (error) {
    say(error.message, "error");
  }
  found("level").hidden = found("elapsed").hidden = recording === null;
  opening = false;
}

async function endRecording() {
  if (!recording) return;
  const ended = recording;
  recording = null;
  found("record").textContent = "Record";
  found("record").classList.remove("recording");
  found("level").hidden = found("elapsed").hidden = true;
  const {samples, rate} = await ended.stop();
  const name = `Recording ${++recordings}`;
  waiting.push({name, samples: () => convertRecorded(samples, rate, page.limits)});
  say(`${name} was added.`);
  work();
}

function showLevel(largest) {
  const decibels = Math.max(-60, Math.min(0, 20 * Math.log10(Math.max(largest, 1e-9))));
  found("level").setAttribute("aria-valuenow", decibels.toFixed(0));
  found("level").firstElementChild.style.width = `${(100 * (decibels + 60) / 60).toFixed(0)}%`;
  if (!recording) return;
  found("elapsed").textContent = `${recording.seconds.toFixed(1)} s`;
  if (recording.seconds >= page.limits.max_duration_s - 1) endRecording();
}

function json() {
  return jsonText(answers, page.model.labels, page.warning);
}

function save(name, type, text) {
  const url = URL.createObjectURL(new Blob([text], {type}));
  element("a", {href: url, download: name}).click();
  setTimeout(() => URL.revokeObjectURL(url), 60_000);
}

function clear() {
  answers.length = 0;
  found("answers").replaceChildren();
  found("tools").hidden = true;
  say("All answers were removed.");
  found("files").focus();
}

async function saveForOffline() {
  if (!navigator.serviceWorker) return; // at http addresses other than localhost
  try {
    await navigator.serviceWorker.register("service-worker.js");
    await navigator.serviceWorker.ready;
    found("offline").hidden = false;
  } catch {
    // Private windows and full disks allow no copy. The page works, but not offline.
  }
}

start();
