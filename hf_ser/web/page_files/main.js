// The page: recordings are classified one after the other.
import {convertRecorded, decodeFile, RATE} from "./audio.js";
import {answerCard, errorCard, sentence} from "./answers.js";
import {csvText, jsonText, ranked} from "./answer_text.js";
import {element} from "./elements.js";
import {LiveMode} from "./live_mode.js";
import {fillOptions, readOptions} from "./live_options.js";
import {LiveView} from "./live_view.js";
import {openMicrophone} from "./microphone.js";
import {Model} from "./model.js";
import {Recording} from "./recording.js";
import {SoundError} from "./sound_error.js";
import {cut, mean, peak} from "./windows.js";

const found = id => document.getElementById(id);
const answers = [];
const waiting = []; // recordings: a name and a function that returns its samples
let page, model, loading, working = false, opening = false;
let recording = null, microphone = null, recordings = 0; // a finished recording is classified
let live = null, view, lives = 0; // live speech is classified while it arrives

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
  found("live-toggle").disabled = recording !== null;
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
  fillOptions(found("live-form"), page.live);
  view = new LiveView(found("live"), page);
  found("live-form").addEventListener("submit", event => event.preventDefault()); // Enter in a field
  found("live-toggle").addEventListener("click", () => (live ? endLive() : beginLive()));
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
  const used = model;
  try {
    const samples = await read();
    const windows = await classify(samples, onProgress);
    return addAnswer({file: name, windows}, samples);
  } catch (error) {
    const isSound = error instanceof SoundError;
    const message = isSound ? error.message : `the model failed (${error.message}). Try a shorter recording.`;
    addError(name, message, isSound ? error.reason : "model");
    return `${name}: ${message}${isSound ? "" : await restart(used)}`;
  }
}

/** Add the mean of windows to the answers, and return it as a sentence. */
function addAnswer(made, samples) {
  const {labels, abstention_threshold: threshold} = page.model;
  made.scores = ranked(mean(made.windows), labels);
  if (threshold !== null) Object.assign(made, {abstained: made.scores[0].score < threshold, threshold});
  answers.push(made);
  found("answers").prepend(answerCard(made, samples, labels, page.colours));
  return `${made.file}: ${sentence(made)}.`;
}

function addError(name, message, reason) {
  answers.push({file: name, error: message, reason});
  found("answers").prepend(errorCard(name, message));
}

/** After a failure, memory may be used up: load the graph again. Return what to say if that fails. */
async function restart(broken) {
  if (model === broken) { // files and live speech may fail for the same reason
    model.end();
    model = null;
    loading = loadModel().then(() => "", () => " The model could not be loaded again. Reload the page.");
  }
  return loading;
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
  const made = new Recording();
  try {
    microphone = await openMicrophone((samples, rate, peak) => {
      made.add(samples, rate);
      showLevel(peak, made.seconds);
      if (made.seconds >= page.limits.max_duration_s - 1) endRecording();
    }, endRecording);
    recording = made;
    say("Recording. Speak now.");
  } catch (error) {
    say(error.message, "error");
  }
  showButtons();
  opening = false;
}

async function endRecording() {
  if (!recording) return;
  const ended = recording;
  recording = null;
  showButtons();
  await microphone.close();
  const name = `Recording ${++recordings}`;
  waiting.push({name, samples: () => convertRecorded(ended.samples, ended.rate, page.limits)});
  say(`${name} was added.`);
  work();
}

async function beginLive() {
  if (opening) return;
  let options;
  try {
    options = readOptions(found("live-form"), page);
  } catch (error) {
    found("live-options").open = true;
    error.field.focus();
    return say(error.message, "error");
  }
  if (!model) return say("The model is not loaded. Wait, or reload the page.", "error");
  opening = true;
  say("Waiting for the microphone …", "busy");
  const used = model;
  const made = new LiveMode(page, options, samples => used.run(samples), {
    level: peak => showLevel(peak, made.seconds),
    answers: (windows, speed) => view.add(windows, speed),
    end: endLive,
  });
  view.start(options.window_s);
  try {
    await made.start();
    live = made;
    say("Live. Speak now.");
  } catch (error) {
    view.end();
    say(error.message, "error");
  }
  showButtons();
  opening = false;
  if (made.failure) endLive();
}

async function endLive() {
  if (!live) return;
  const ended = live, used = model;
  live = null;
  opening = true; // until the last windows have answers
  showButtons();
  say("Answering the last windows …", "busy");
  await ended.stop();
  view.end();
  let said = addLive(`Live ${++lives}`, ended);
  if (ended.failure) said = `${ended.failure.reason} ${said}`;
  if (ended.failure?.isBroken) said += await restart(used);
  found("tools").hidden = false;
  opening = false;
  say(said, ended.failure ? "error" : "");
  work();
}

/** Add the windows of live speech to the answers, with the mean that a file with the same sound has. */
function addLive(name, {windows, seconds, summary}) {
  if (windows.some(({probabilities}) => probabilities !== null)) {
    return addAnswer({file: name, isLive: true, windows, note: `The mean of these windows. ${summary}`}, null);
  }
  const {min_duration_s: least, silence_dbfs: level} = page.limits;
  const got = windows.length ? `silence; expected a peak above the gate or ${level} dBFS` : `${seconds.toFixed(3)} s; expected at least ${least} s`;
  const message = windows.find(({error}) => error)?.error ?? `got ${got}. Start again.`;
  addError(name, message, windows.length ? "silent" : "too_short");
  return `${name}: ${message}`;
}

/** Show which buttons and figures belong to the present state. */
function showButtons() {
  for (const [id, words, isOn, isOther] of [["record", ["Record", "Stop"], recording, live],
    ["live-toggle", ["Start live", "Stop live"], live, recording]]) {
    found(id).textContent = words[isOn ? 1 : 0];
    found(id).classList.toggle("recording", isOn !== null);
    found(id).disabled = isOther !== null || (id === "live-toggle" && !model && !live);
  }
  found("live-form").firstElementChild.disabled = live !== null; // the next stream has other options
  found("level").hidden = found("elapsed").hidden = recording === null && live === null;
}

function showLevel(largest, seconds) {
  const decibels = Math.max(-60, Math.min(0, 20 * Math.log10(Math.max(largest, 1e-9))));
  found("level").setAttribute("aria-valuenow", decibels.toFixed(0));
  found("level").firstElementChild.style.width = `${(100 * (decibels + 60) / 60).toFixed(0)}%`;
  found("elapsed").textContent = `${seconds.toFixed(1)} s`;
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
