// What the page shows while it classifies live speech.
import {bars, sentence} from "./answers.js";
import {ranked} from "./answer_text.js";
import {drawTimeline} from "./timeline.js";

const SHOWN = 60; // windows of the timeline
const PAUSE_S = 3; // between announcements: a screen reader needs time to speak

export class LiveView {
  /** @param {HTMLElement} area the section @param {object} page page.json */
  constructor(area, page) {
    Object.assign(this, {area, page, windows: [], said: "", saidAt: -Infinity});
    for (const name of ["answer", "place", "bars", "lanes", "speed", "said"]) {
      this[`${name}Area`] = area.querySelector(`#live-${name}`);
    }
  }

  /** Show the section without an answer. */
  start(windowSeconds) {
    Object.assign(this, {windows: [], said: "", saidAt: -Infinity});
    for (const part of [this.placeArea, this.barsArea, this.lanesArea, this.speedArea, this.saidArea]) part.replaceChildren();
    this.answerArea.textContent = "…";
    this.placeArea.textContent = `The first answer comes after ${windowSeconds} seconds of sound.`;
    this.area.hidden = false;
  }

  /** Show the last of the answers, and add all of them to the timeline. */
  add(answers, speed) {
    this.windows = [...this.windows, ...answers].slice(-SHOWN);
    const last = this.windows.at(-1), {labels} = this.page.model;
    this.answerArea.textContent = liveSentence(last);
    this.placeArea.textContent = `${last.start.toFixed(1)} to ${last.end.toFixed(1)} s`;
    const scores = last.probabilities && ranked(last.probabilities, labels);
    this.barsArea.replaceChildren(...(scores ? [bars(scores, labels, this.page.colours)] : []));
    const name = `Probability of each class in the last ${this.windows.length} windows. The numbers of the last one are above.`;
    this.lanesArea.replaceChildren(drawTimeline(this.windows, labels, this.page.colours, name));
    this.speedArea.textContent = speed;
    this.announce(last);
  }

  /** Let screen readers announce a new label. */
  announce(answer) {
    const said = answer.label === null || answer.abstained ? liveSentence(answer) : answer.label;
    if (said === this.said || answer.end < this.saidAt + PAUSE_S) return;
    Object.assign(this, {said, saidAt: answer.end});
    this.saidArea.textContent = liveSentence(answer);
  }

  end() {
    this.area.hidden = true;
  }
}

/** The answer for a window in one sentence. */
function liveSentence(answer) {
  if (answer.label === null) return answer.silent ? "Silence" : "No answer";
  return sentence({scores: [answer], abstained: answer.abstained});
}
