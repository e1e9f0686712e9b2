// Answers as JSON and CSV, with the fields and columns of hf-ser predict (hf_ser/batch/answer_rows.py).

/** Rank the probabilities of classes, best first; equal ones keep the order of the classes. */
export function ranked(probabilities, labels) {
  return labels.map((label, place) => ({label, score: probabilities[place]})).sort((a, b) => b.score - a.score);
}

export function jsonText(answers, labels, warning) {
  return JSON.stringify(answers.map(answer => row(answer, labels, warning)), null, 1) + "\n";
}

export function csvText(answers, labels, warning, abstains) {
  const header = ["file", "start", "end", "emotion", ...labels.map(label => `p_${label}`),
    ...(abstains ? ["abstained"] : []), "error", "warning"];
  const lines = [header];
  for (const answer of answers) {
    const {timeline = [], ...whole} = row(answer, labels, warning);
    for (const part of [whole, ...timeline]) {
      const scores = Object.fromEntries((part.scores ?? []).map(({label, score}) => [label, score.toFixed(6)]));
      lines.push([answer.file, part.start, part.end, part.label ?? part.scores?.[0].label, ...labels.map(label => scores[label]),
        ...(abstains ? [part.abstained] : []), part.error ?? (part.silent ? "silence" : undefined), whole.warning]);
    }
  }
  return lines.map(cells => cells.map(quoted).join(",") + "\n").join("");
}

function row(answer, labels, warning) {
  const {file, error, reason, scores, abstained, threshold} = answer;
  const made = error === undefined ? {file, scores} : {file, error, reason};
  if (abstained !== undefined) Object.assign(made, {abstained, threshold});
  if (answer.windows?.length > (answer.isLive ? 0 : 1)) {
    made.timeline = answer.windows.map(({start, end, silent, probabilities, ...live}) =>
      ({start, end, silent: silent ?? probabilities === null, scores: probabilities && ranked(probabilities, labels), ...live}));
  }
  return warning ? {...made, warning} : made;
}

function quoted(cell) {
  const text = String(cell ?? "");
  return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}
