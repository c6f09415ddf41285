// The page as a whole: it draws the newest state, and hands over what a person does.

import { isLost, onChange, refresh, send, sending, state } from "./api.js";
import * as answers from "./answers.js";
import * as classes from "./classes.js";
import { by, count, setText } from "./dom.js";
import * as drop from "./drop.js";
import * as look from "./look.js";
import * as settings from "./settings.js";
import { addFiles, attempt, say } from "./talk.js";

const GONE = "The program has ended. Start it again for a new page.";

function draw() {
  status();
  if (!state.content) return;
  by("tiny").hidden = !state.content.model?.tiny;
  classes.show(state.content);
  settings.show(state);
  answers.show(state);
  look.show(state);
}

function status() {
  let { phase, text, done, total } = state.status;
  if (isLost()) [phase, text, done, total] = ["failed", GONE, null, null];
  else if (sending.total) [phase, text, done, total] = ["working", "Adding pictures", sending.done, sending.total];
  const isProblem = phase === "problem" || phase === "failed";
  by("status").dataset.phase = phase;
  const short = { problem: "Not learned", failed: "Stopped" }[phase] ?? text;
  setText(by("status-text"), short); // it is read out, and the count beside it is not
  setText(by("status-more"), total && phase === "working" ? `${done} of ${total}` : phase === "ready" ? learned() : "");
  by("problem").hidden = !isProblem;
  if (isProblem) setText(by("problem"), text);
  const bar = by("progress");
  bar.hidden = !["loading", "working"].includes(phase);
  if (total) [bar.max, bar.value] = [total, done];
  else bar.removeAttribute("value");
}

function learned() {
  const fit = state.labels?.fit;
  if (!fit?.pictures) return "";
  const learnt = `${count(fit.pictures, "picture")} of ${count(fit.classes.length, "class", "classes")}`;
  return `${learnt} learned in ${fit.seconds.toFixed(1)} s`;
}

onChange(draw);
window.addEventListener("redraw", draw);
by("add-class").addEventListener("click", classes.add);
settings.start();
answers.start();
look.start();
drop.start(
  addFiles,
  (number, place) => attempt(() => send(`pictures/${number}`, { place })),
  (files) => {
    if (files[0].name.endsWith(".safetensors")) addFiles(files.slice(0, 1), 0);
    else say("Drop pictures on a class, or on the new pictures.");
  },
);
refresh();
