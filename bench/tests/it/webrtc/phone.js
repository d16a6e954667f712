// A SIP phone in a page, by SIP.js: it says a tone in place of a voice, and tells which tone it hears. `window.phone` is for the driver.
import { Inviter, Registerer, SessionState, UserAgent, Web } from "/sip.js/lib/index.js";

const audio = new AudioContext();

function show(text) {
  document.getElementById("state").textContent = text;
}

/** A stream of one tone. */
function tone(hertz) {
  const oscillator = new OscillatorNode(audio, { frequency: hertz });
  const gain = new GainNode(audio, { gain: 0.3 });
  const destination = audio.createMediaStreamDestination();
  oscillator.connect(gain).connect(destination);
  oscillator.start();
  return destination.stream;
}

/** The strongest frequency of a stream, and how far it stands above the middle of all others, over about a second. */
async function strongest(stream) {
  const analyser = new AnalyserNode(audio, { fftSize: 8192, smoothingTimeConstant: 0.6 });
  audio.createMediaStreamSource(stream).connect(analyser);
  const bins = new Float32Array(analyser.frequencyBinCount);
  for (let turn = 0; turn < 8; turn += 1) {
    await new Promise((done) => setTimeout(done, 200));
    analyser.getFloatFrequencyData(bins);
  }
  let best = 0;
  bins.forEach((level, bin) => {
    if (level > bins[best]) best = bin;
  });
  const voice = bins.slice(0, Math.floor((3400 * 8192) / audio.sampleRate));
  const sorted = [...voice].sort((a, b) => a - b);
  return {
    hertz: (best * audio.sampleRate) / 8192,
    above_db: bins[best] - sorted[Math.floor(sorted.length / 2)],
  };
}

class Phone {
  constructor({ server, domain, user, password, hertz }) {
    this.domain = domain;
    this.session = null;
    this.ended = false;
    const stream = tone(hertz);
    this.agent = new UserAgent({
      uri: UserAgent.makeURI(`sip:${user}@${domain}`),
      authorizationUsername: user,
      authorizationPassword: password,
      transportOptions: { server },
      sessionDescriptionHandlerFactory: Web.defaultSessionDescriptionHandlerFactory(() => Promise.resolve(stream)),
      delegate: { onInvite: (invitation) => this.take(invitation) },
    });
    this.invited = new Promise((done) => (this.onInvited = done));
  }

  async register() {
    await audio.resume();
    await this.agent.start();
    this.registerer = new Registerer(this.agent);
    const registered = new Promise((done, fail) => {
      this.registerer.stateChange.addListener((state) => (state === "Registered" ? done() : fail(new Error(state))));
    });
    await this.registerer.register({ requestDelegate: { onReject: (response) => show(response.message.statusCode) } });
    await registered;
    show("registered");
  }

  take(session) {
    this.session = session;
    session.stateChange.addListener((state) => {
      show(state);
      this.ended ||= state === SessionState.Terminated;
    });
    this.onInvited();
  }

  async established() {
    if (this.session.state === SessionState.Established) return;
    await new Promise((done, fail) => {
      this.session.stateChange.addListener((state) => {
        if (state === SessionState.Established) done();
        if (state === SessionState.Terminated) fail(new Error("the call came to nothing"));
      });
    });
  }

  async call(user) {
    const inviter = new Inviter(this.agent, UserAgent.makeURI(`sip:${user}@${this.domain}`));
    this.take(inviter);
    await inviter.invite();
    await this.established();
  }

  async answer() {
    await this.invited;
    await this.session.accept();
    await this.established();
  }

  get connection() {
    return this.session.sessionDescriptionHandler.peerConnection;
  }

  /** Until ICE and DTLS are done; how long that took. */
  async connected() {
    const begun = performance.now();
    while (this.connection.connectionState !== "connected") await new Promise((done) => setTimeout(done, 10));
    return performance.now() - begun;
  }

  async hear() {
    await this.connected();
    const tracks = this.connection.getReceivers().map((receiver) => receiver.track);
    const stream = new MediaStream(tracks);
    // Without an element that plays it nothing of a remote stream reaches the graph.
    document.getElementById("heard").srcObject = stream;
    return strongest(stream);
  }

  async hold(isHeld) {
    await this.session.invite({
      sessionDescriptionHandlerModifiers: isHeld ? [Web.holdModifier] : [],
      sessionDescriptionHandlerOptions: { hold: isHeld },
    });
    await new Promise((done) => setTimeout(done, 300));
  }

  async restart() {
    await this.session.invite({ sessionDescriptionHandlerOptions: { offerOptions: { iceRestart: true } } });
    await new Promise((done) => setTimeout(done, 500));
  }

  /** What the browser says of the call, also as rows of the page. */
  async statistics() {
    const reports = [...(await this.connection.getStats()).values()];
    const of = (type) => reports.find((report) => report.type === type) ?? {};
    const transport = of("transport");
    const pair = reports.find((report) => report.id === transport.selectedCandidatePairId) ?? {};
    const remote = reports.find((report) => report.id === pair.remoteCandidateId) ?? {};
    const received = of("inbound-rtp");
    const codec = reports.find((report) => report.id === received.codecId) ?? {};
    const figures = {
      dtls: transport.dtlsState,
      tls_version: transport.tlsVersion,
      dtls_role: transport.dtlsRole,
      srtp_cipher: transport.srtpCipher,
      ice: this.connection.iceConnectionState,
      remote_candidate: `${remote.candidateType} ${remote.address}:${remote.port}`,
      codec: codec.mimeType,
      packets_sent: of("outbound-rtp").packetsSent,
      packets_received: received.packetsReceived,
      packets_lost: received.packetsLost,
      jitter_s: received.jitter,
    };
    document.getElementById("figures").innerHTML = Object.entries(figures)
      .map(([name, value]) => `<tr><th>${name}</th><td>${value}</td></tr>`)
      .join("");
    return { figures, reports };
  }

  async bye() {
    await this.session.bye();
    await this.over();
  }

  async over() {
    while (!this.ended) await new Promise((done) => setTimeout(done, 20));
  }

  async leave() {
    await this.registerer.unregister();
    await this.agent.stop();
  }
}

window.begin = (options) => {
  window.phone = new Phone(options);
};
window.isReady = true;
