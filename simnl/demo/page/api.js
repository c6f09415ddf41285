// What is asked of the server, and the newest state of the page.

const AT_ONCE = 4; // pictures that are sent at once
const BUSY = 250; // milliseconds until the next look, while something goes on
const IDLE = 1500;
const SOON = 30;

export class Problem extends Error {}

export const state = { status: { phase: "loading", text: "Loading…" }, content: null, labels: null, current: false };
export const sending = { done: 0, total: 0 };
const listeners = [];
let asking = null;
let again = false;
let timer = 0;
let drawing = 0;
let lost = false;

export const onChange = (listener) => listeners.push(listener);

// Draw soon: one drawing shows all that has happened meanwhile.
function tell() {
  drawing ||= setTimeout(() => {
    drawing = 0;
    listeners.forEach((listener) => listener(state));
  }, SOON);
}

export const isLost = () => lost;

async function request(address, options = {}) {
  let answer;
  try {
    answer = await fetch(address, options);
  } catch {
    throw new Problem("The program does not answer.");
  }
  if (answer.ok) return answer;
  let problem = `The program refuses this (${answer.status}).`;
  try {
    problem = (await answer.json()).problem || problem;
  } catch {
    // the answer is not json
  }
  throw new Problem(problem);
}

export async function get(address) {
  return (await request(address)).json();
}

export async function download(address) {
  return (await request(address)).blob();
}

// Send a wish, and look at what became of it.
export async function send(address, body = {}, method = "POST") {
  const isFile = body instanceof Blob;
  const answer = await request(address, { method, body: isFile ? body : JSON.stringify(body) });
  refresh();
  return answer.json();
}

// Look at the state now; one look at a time.
export async function refresh() {
  if (asking) {
    again = true;
    return;
  }
  clearTimeout(timer);
  asking = true;
  try {
    const query = `content=${state.content?.version ?? ""}&labels=${state.labels?.version ?? ""}`;
    const news = await get(`state?${query}`);
    Object.assign(state, news);
    lost = false;
  } catch {
    lost = true;
  }
  asking = null;
  tell();
  const isBusy = again || sending.total > 0 || ["loading", "working"].includes(state.status.phase);
  timer = setTimeout(refresh, again ? 0 : isBusy ? BUSY : IDLE);
  again = false;
}

// Send pictures, a few at a time. Returns the reasons of those that were refused, in the order of the files.
export async function upload(files, place) {
  const waiting = [...files];
  const first = Date.now() * 1000; // they arrive in any order, and keep that in which they were chosen
  const refused = [];
  sending.total += waiting.length;
  const worker = async () => {
    for (let file = waiting.shift(); file; file = waiting.shift()) {
      const order = first + files.length - waiting.length;
      try {
        check(file);
        const address = `pictures?place=${place}&order=${order}&name=${encodeURIComponent(file.name)}`;
        await request(address, { method: "POST", body: file });
      } catch (error) {
        refused.push({ order, message: error.message });
      }
      sending.done += 1;
      tell();
    }
  };
  refresh();
  await Promise.all(Array.from({ length: AT_ONCE }, worker));
  if (sending.done === sending.total) sending.done = sending.total = 0;
  refresh();
  return refused.sort((a, b) => a.order - b.order).map((one) => one.message);
}

function check(file) {
  const limit = state.content?.limits.file;
  if (limit && file.size > limit) throw new Problem(`${file.name} has more than ${Math.floor(limit / 2 ** 20)} MB.`);
}
