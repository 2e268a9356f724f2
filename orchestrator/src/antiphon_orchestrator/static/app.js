// A call over WebRTC: microphone out, agent in, and what the orchestrator says of each turn.

const COLORS = {
  pause: "#9a9aa8", verdict: "#4f9d69", transcript: "#3aa6b9", llm: "#d9a441",
  tool: "#8c6d46", clause: "#e07b39", tts: "#b05fb0", transport: "#3b6fd4",
};
const PING_MS = 1000; // as Pipecat's clients do
const element = (id) => document.getElementById(id);
const latencies = [];
let call = null;

async function json(path, options) {
  const response = await fetch(path, options);
  const body = await response.json();
  if (!response.ok) throw new Error(body.message || body.detail || response.statusText);
  return body;
}

const post = (path, body) =>
  json(path, { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(body) });

function gathered(connection) {
  return new Promise((resolve) => {
    const check = () => connection.iceGatheringState === "complete" && resolve();
    connection.addEventListener("icegatheringstatechange", check);
    check();
  });
}

class Call {
  static async place(agent) {
    const started = await post("start", { transport: "webrtc", body: { agent } });
    const microphone = await navigator.mediaDevices.getUserMedia({
      audio: { echoCancellation: true, noiseSuppression: true, autoGainControl: true },
    });
    const call = new Call(new RTCPeerConnection(started.iceConfig), microphone);
    try {
      await call.negotiate(started.sessionId);
    } catch (error) {
      call.end();
      throw error;
    }
    return call;
  }

  constructor(connection, microphone) {
    this.connection = connection;
    this.microphone = microphone;
    this.gaps = 0;
    for (const track of microphone.getTracks()) connection.addTrack(track, microphone);
    connection.addEventListener("track", (event) => { element("voice").srcObject = event.streams[0] ?? new MediaStream([event.track]); });
    connection.addEventListener("connectionstatechange", () => {
      if (["failed", "disconnected", "closed"].includes(connection.connectionState)) hangUp("The call has ended.");
    });
    this.channel = connection.createDataChannel("antiphon", { ordered: true });
    this.channel.addEventListener("open", () => {
      this.pings = setInterval(() => this.report(), PING_MS);
    });
    this.channel.addEventListener("message", (event) => receive(event.data));
    this.meter = meter(microphone);
  }

  async negotiate(sessionId) {
    await this.connection.setLocalDescription();
    await gathered(this.connection);
    const { sdp, type } = this.connection.localDescription;
    const answer = await post(`sessions/${sessionId}/api/offer`, { sdp, type });
    await this.connection.setRemoteDescription({ sdp: answer.sdp, type: answer.type });
  }

  async report() {
    if (this.channel.readyState !== "open") return;
    this.channel.send(`ping: ${Date.now()}`);
    let gaps = 0; // in the agent's speech, which the browser has papered over
    for (const one of (await this.connection.getStats()).values()) {
      if (one.type === "inbound-rtp" && one.kind === "audio") gaps = one.concealmentEvents ?? 0;
    }
    if (gaps > this.gaps && this.channel.readyState === "open") {
      this.channel.send(JSON.stringify({ type: "antiphon.underruns", count: gaps - this.gaps }));
    }
    this.gaps = gaps;
  }

  mute(muted) {
    for (const track of this.microphone.getAudioTracks()) track.enabled = !muted;
  }

  end() {
    clearInterval(this.pings);
    this.meter.close();
    for (const track of this.microphone.getTracks()) track.stop();
    this.connection.close();
  }
}

function meter(stream) {
  const context = new AudioContext();
  const analyser = context.createAnalyser();
  const samples = new Float32Array(analyser.fftSize);
  context.createMediaStreamSource(stream).connect(analyser);
  const draw = () => {
    if (context.state === "closed") return;
    analyser.getFloatTimeDomainData(samples);
    element("level").value = Math.min(1, 4 * Math.sqrt(samples.reduce((sum, x) => sum + x * x, 0) / samples.length));
    requestAnimationFrame(draw);
  };
  draw();
  return context;
}

function receive(data) {
  let message;
  try { message = JSON.parse(data); } catch { return; }
  if (message.type === "antiphon.turn") show(message.turn);
  else if (message.type === "antiphon.error") element("status").textContent = message.message;
  else if (message.label === "rtvi-ai" && message.type === "user-transcription") {
    element("interim").textContent = message.data.final ? "" : message.data.text;
  }
}

function show(turn) {
  const item = element("turn").content.cloneNode(true);
  item.querySelector(".caller").textContent = turn.heard;
  item.querySelector(".agent").textContent = turn.answered || `(${turn.error || turn.outcome})`;
  const parts = turn.stages.map((stage) => [stage.name, stage.end_ms - stage.start_ms]);
  const waterfall = item.querySelector(".waterfall");
  for (const [name, ms] of parts) {
    const bar = document.createElement("span");
    bar.style.flexGrow = ms;
    bar.style.background = COLORS[name] ?? "#777";
    bar.title = `${name} ${ms.toFixed(0)} ms`;
    waterfall.append(bar);
  }
  const figures = parts.map(([name, ms]) => `${name} ${ms.toFixed(0)}`).join(" · ");
  waterfall.setAttribute("aria-label", figures);
  item.querySelector(".figures").textContent =
    turn.v2v_ms === null ? turn.outcome : `${turn.v2v_ms.toFixed(0)} ms voice to voice (server): ${figures}`;
  element("turns").prepend(item);
  if (turn.v2v_ms !== null) latencies.push(turn.v2v_ms);
  summarise();
}

function summarise() {
  const sorted = latencies.toSorted((a, b) => a - b);
  if (!sorted.length) return;
  const median = sorted[Math.floor(sorted.length / 2)];
  element("summary").textContent =
    `${sorted.length} answered; median ${median.toFixed(0)} ms, worst ${sorted.at(-1).toFixed(0)} ms on the server's clock.`;
}

function state(live, text) {
  element("status").textContent = text;
  element("call").textContent = live ? "Hang up" : "Call";
  element("call").classList.toggle("live", live);
  element("mute").disabled = !live;
  element("mute").textContent = "Mute";
}

function hangUp(text) {
  if (!call) return;
  const ending = call;
  call = null;
  ending.end();
  element("interim").textContent = "";
  state(false, text);
}

element("controls").addEventListener("submit", async (event) => {
  event.preventDefault();
  if (call) return hangUp("Ready to call.");
  element("call").disabled = true;
  state(false, "Connecting…");
  try {
    call = await Call.place(element("agent").value);
    state(true, "Connected: speak.");
  } catch (error) {
    state(false, `The call failed: ${error.message}`);
  } finally {
    element("call").disabled = false;
  }
});

element("mute").addEventListener("click", () => {
  const muting = element("mute").textContent === "Mute";
  call?.mute(muting);
  element("mute").textContent = muting ? "Unmute" : "Mute";
});

addEventListener("pagehide", () => hangUp(""));

try {
  const { agents, default: first } = await json("api/agents");
  for (const name of agents) element("agent").add(new Option(name, name, name === first, name === first));
} catch (error) {
  state(false, error.message);
}
