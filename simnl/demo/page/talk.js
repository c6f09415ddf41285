// What the page says to a person, and asks.

import { Problem, refresh, send, upload } from "./api.js";
import { by, h, setText } from "./dom.js";

const MOST = 4; // messages at once
const LISTED = 100; // reasons in one message

// A message that stays until it is closed; `reasons` are in a list that opens.
export function say(text, reasons = []) {
  const close = h("button.link", { type: "button", "aria-label": "Close the message" }, "Close");
  const message = h("div.message", {}, h("div", {}, h("p", {}, text)), close);
  if (reasons.length) {
    const shown = reasons.slice(0, LISTED).map((reason) => h("li", {}, reason));
    if (reasons.length > LISTED) shown.push(h("li", {}, `and ${reasons.length - LISTED} more`));
    message.firstChild.append(h("details", { open: reasons.length <= 3 }, h("summary", {}, "Which, and why"), h("ul", {}, ...shown)));
  }
  close.addEventListener("click", () => message.remove());
  const box = by("messages");
  box.append(message);
  while (box.children.length > MOST) box.firstChild.remove();
}

// Carry a wish out; true where it was granted. A refusal is shown at `place`, or as a message.
export async function attempt(wish, place = null) {
  if (place) setText(place, "");
  try {
    await wish();
    return true;
  } catch (error) {
    if (!(error instanceof Problem)) throw error;
    if (place) setText(place, error.message);
    else say(error.message);
    refresh();
    return false;
  }
}

export async function addFiles(files, place) {
  const heads = files.filter((file) => file.name.endsWith(".safetensors"));
  const pictures = files.filter((file) => !heads.includes(file));
  if (heads.length) await openHead(heads[0]);
  if (!pictures.length) return;
  const refused = await upload(pictures, place);
  if (!refused.length) return;
  if (pictures.length === 1) say(refused[0]);
  else say(`${refused.length} of ${pictures.length} pictures were not added.`, refused);
}

export const openHead = (file) => attempt(() => send(`head?name=${encodeURIComponent(file.name)}`, file));

// Ask before something is removed.
export function sure(text) {
  const dialog = by("sure");
  setText(by("sure-text"), text);
  dialog.returnValue = "no";
  dialog.showModal();
  return new Promise((done) => {
    dialog.addEventListener("close", () => done(dialog.returnValue === "yes"), { once: true });
  });
}
