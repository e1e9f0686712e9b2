/** The graph in a Web Worker. */
export class Model {
  /** @param {object} settings of page.json: labels, min_samples, needs_mask */
  constructor(settings) {
    this.settings = settings;
    this.calls = new Map();
    this.count = 0;
  }

  /** Start the worker and load the graph. */
  async load() {
    this.worker = new Worker("worker.js", {type: "module"});
    this.worker.onmessage = ({data: {id, value, error, isAnswer}}) => {
      const {resolve, reject} = this.calls.get(id);
      this.calls.delete(id);
      if (error === undefined) resolve(value);
      else reject(Object.assign(new Error(error), {isAnswer}));
    };
    this.worker.onerror = event => {
      event.preventDefault();
      this.rejectAll(event.message || "its program could not be started");
    };
    await this.call("load", this.settings);
  }

  /**
   * Classify samples at 16 kHz -> one probability per class.
   * @throws {Error} with `isAnswer` if the graph ran, but returned no probabilities
   */
  run(samples) {
    return this.call("run", samples);
  }

  /** End the worker, which frees its memory. */
  end() {
    this.worker?.terminate();
    this.rejectAll("it was loaded again");
  }

  rejectAll(reason) {
    for (const {reject} of this.calls.values()) reject(new Error(reason));
    this.calls.clear();
  }

  call(step, argument) {
    return new Promise((resolve, reject) => {
      this.calls.set(++this.count, {resolve, reject});
      this.worker.postMessage({id: this.count, step, argument});
    });
  }
}
