// Runs on the audio thread: collects blocks of the microphone's samples and sends them to the page.
const BLOCK = 2048; // samples: about 20 messages per second

class Recorder extends AudioWorkletProcessor {
  constructor() {
    super();
    this.block = new Float32Array(BLOCK);
    this.filled = 0;
    this.running = true;
    this.port.onmessage = () => {
      this.send();
      this.running = false;
      this.port.postMessage({end: true});
    };
  }

  process([channels]) {
    const frames = this.running && channels.length ? channels[0].length : 0;
    for (let frame = 0; frame < frames; frame++) {
      let sum = 0;
      for (const channel of channels) sum += channel[frame];
      this.block[this.filled++] = sum / channels.length;
      if (this.filled === BLOCK) this.send();
    }
    return this.running;
  }

  send() {
    const samples = this.block.slice(0, this.filled);
    this.filled = 0;
    let peak = 0;
    for (const sample of samples) peak = Math.max(peak, Math.abs(sample));
    this.port.postMessage({samples, peak}, [samples.buffer]);
  }
}

registerProcessor("recorder", Recorder);
