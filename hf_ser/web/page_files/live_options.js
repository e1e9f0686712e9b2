// The options of live speech: fields of the page, and the rules of hf_ser/live for their values.

const MOST_WINDOW_S = 60; // a window is kept in memory, and classified as a whole
const MOST_WINDOWS = 1000;
const NAMES = ["window_s", "hop_s", "gate_dbfs", "min_active_s", "smooth_windows", "smooth_weight", "switch_margin",
  "switch_windows"];

/** Show the defaults, which are those of Python. */
export function fillOptions(form, defaults) {
  for (const name of NAMES) form.elements[name].value = defaults[name] ?? "";
}

/**
 * Read the fields.
 * @param {HTMLFormElement} form
 * @param {object} page page.json
 * @throws {Error} with a sentence for the page, and the field in `field`
 */
export function readOptions(form, {live, limits}) {
  const options = {...live};
  for (const name of NAMES) {
    const field = form.elements[name];
    const isEmpty = field.value === "" && !field.validity.badInput;
    options[name] = isEmpty && live[name] === null ? null : field.valueAsNumber;
    field.removeAttribute("aria-invalid");
  }
  for (const [name, isRight, expected] of rules(options, limits)) {
    if (isRight) continue;
    const field = form.elements[name];
    field.setAttribute("aria-invalid", "true");
    const title = field.labels[0].querySelector("span").textContent;
    const got = Number.isNaN(options[name]) ? "no number" : options[name];
    throw Object.assign(new Error(`${title}: got ${got}; expected ${expected}.`), {field});
  }
  return options;
}

function rules(options, {min_duration_s: least, silence_dbfs: silence}) {
  const {window_s, hop_s, gate_dbfs, min_active_s, smooth_windows, smooth_weight, switch_margin, switch_windows} = options;
  const within = (value, low, high) => value >= low && value <= high; // false for NaN
  const isCount = value => Number.isInteger(value) && within(value, 1, MOST_WINDOWS);
  return [
    ["window_s", within(window_s, least, MOST_WINDOW_S), `${least} to ${MOST_WINDOW_S} seconds`],
    ["hop_s", within(hop_s, least, window_s), `${least} seconds to the length of a window, which is ${window_s} s`],
    ["gate_dbfs", within(gate_dbfs, silence, 0), `a level from ${silence} to 0 dBFS`],
    ["min_active_s", within(min_active_s, 0, window_s), `0 seconds to the length of a window, which is ${window_s} s`],
    ["smooth_windows", isCount(smooth_windows), `an integer from 1 to ${MOST_WINDOWS}`],
    ["smooth_weight", smooth_weight === null || (smooth_weight > 0 && smooth_weight <= 1),
      "a number above 0 and at most 1, or nothing"],
    ["smooth_weight", smooth_weight === null || smooth_windows === 1,
      "nothing if several windows are averaged: choose one of the two averages"],
    ["switch_margin", switch_margin >= 0 && switch_margin < 1, "a number from 0, below 1"],
    ["switch_windows", isCount(switch_windows), `an integer from 1 to ${MOST_WINDOWS}`],
  ];
}
