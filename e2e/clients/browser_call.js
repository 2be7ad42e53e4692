// One side of a call, in a page: a painted canvas as its camera, a data channel, and nothing but relayed candidates.
const FRAMES_A_SECOND = 25;

const caller = { candidates: [], errors: [], echoed: 0, gathered: false };

function join(iceServers, offers) {
  const peer = new RTCPeerConnection({ iceServers, iceTransportPolicy: "relay" });
  caller.peer = peer;
  peer.onicecandidate = ({ candidate }) => {
    if (candidate) caller.candidates.push(candidate.toJSON());
    else caller.gathered = true;
  };
  peer.onicecandidateerror = ({ url, errorCode, errorText }) => caller.errors.push(`${url}: ${errorCode} ${errorText}`);
  peer.ontrack = ({ streams }) => watch(streams[0]);
  const camera = paint().captureStream(FRAMES_A_SECOND);
  camera.getTracks().forEach((track) => peer.addTrack(track, camera));
  if (offers) caller.channel = peer.createDataChannel("echo");
  else peer.ondatachannel = ({ channel }) => (channel.onmessage = ({ data }) => channel.send(data));
}

function paint() {
  const canvas = document.createElement("canvas");
  [canvas.width, canvas.height] = [320, 240];
  const pen = canvas.getContext("2d");
  let frame = 0;
  setInterval(() => {
    frame += 1;
    pen.fillStyle = `hsl(${(frame * 7) % 360} 80% 50%)`;
    pen.fillRect(0, 0, 320, 240);
    pen.fillStyle = "black";
    pen.fillText(`frame ${frame}`, 10 + (frame % 200), 120);
  }, 1000 / FRAMES_A_SECOND);
  return canvas;
}

function watch(stream) {
  const video = document.createElement("video");
  Object.assign(video, { muted: true, autoplay: true, srcObject: stream });
  document.documentElement.append(video);
}

async function describe(remote) {
  const { peer } = caller;
  if (remote) await peer.setRemoteDescription(remote);
  if (!remote || remote.type === "offer") {
    await peer.setLocalDescription();
    return peer.localDescription.toJSON();
  }
}

// The candidates found since the last call.
const found = () => caller.candidates.splice(0);

async function add(candidates) {
  for (const candidate of candidates) await caller.peer.addIceCandidate(candidate);
}

// Numbered messages, each sent when the one before has come back.
function echo(messages) {
  const { channel } = caller;
  const send = () => caller.echoed < messages && channel.send(`message ${caller.echoed}`);
  channel.onmessage = ({ data }) => {
    if (data !== `message ${caller.echoed}`) return;
    caller.echoed += 1;
    send();
  };
  if (channel.readyState === "open") send();
  else channel.onopen = send;
}

// What has become of the call so far.
async function told() {
  const stats = [...(await caller.peer.getStats()).values()];
  const one = (type, holds = () => true) => stats.find((entry) => entry.type === type && holds(entry));
  const pair = one("candidate-pair", ({ id }) => id === one("transport")?.selectedCandidatePairId);
  const local = one("local-candidate", ({ id }) => id === pair?.localCandidateId);
  const remote = one("remote-candidate", ({ id }) => id === pair?.remoteCandidateId);
  return {
    state: caller.peer.connectionState,
    echoed: caller.echoed,
    framesDecoded: one("inbound-rtp", ({ kind }) => kind === "video")?.framesDecoded ?? 0,
    local: local && { type: local.candidateType, relayProtocol: local.relayProtocol, url: local.url },
    remote: remote && { type: remote.candidateType },
    gathered: caller.gathered,
    errors: caller.errors,
  };
}
