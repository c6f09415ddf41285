// The new pictures and their labels.

import { send } from "./api.js";
import { by, count, h, keyed, meter, percent, setText, thumb } from "./dom.js";
import { lookAt } from "./look.js";
import { attempt, sure } from "./talk.js";

let shown = null;

export function start() {
  by("order").addEventListener("change", () => shown && show(shown));
  by("clear-new").addEventListener("click", async () => {
    const numbers = shown.content.new.map((picture) => picture.number);
    if (numbers.length > 3 && !(await sure(`Remove all ${count(numbers.length, "new picture")}?`))) return;
    await attempt(() => send("pictures/remove", { numbers }));
  });
}

export function show(state) {
  shown = state;
  const { content, labels, current } = state;
  const of = labels?.of ?? {};
  const pictures = [...content.new];
  if (by("order").value === "unsure") {
    const sureness = (picture) => of[picture.number]?.[0][1] ?? 2;
    pictures.sort((one, other) => sureness(one) - sureness(other));
  }
  const labelled = pictures.filter((picture) => of[picture.number]).length;
  by("answer-tools").hidden = pictures.length === 0;
  by("answers-empty").hidden = pictures.length > 0;
  by("outdated").hidden = current || labelled === 0;
  by("answers").classList.toggle("old", !current && labelled > 0);
  const told = labelled < pictures.length ? `${labelled} of ${count(pictures.length, "picture")} labelled` : count(labelled, "picture");
  setText(by("answer-count"), told);
  keyed(by("answers"), pictures, (one) => one.number, make, (entry, one) => update(entry, one, of[one.number], labels?.fit));
}

function make(picture) {
  const words = h("span.words", {}, h("span.label", { dir: "auto" }), h("span.share"), h("span.bar"), h("span.next.faint", { dir: "auto" }));
  const button = h("button.answer", { type: "button", onclick: () => lookAt(picture.number) }, thumb(picture), words);
  button.dataset.picture = picture.number;
  button.draggable = true;
  return h("li", {}, button);
}

function update(entry, picture, best, fit) {
  const mark = best ? `${fit.number}` : "none";
  if (entry.dataset.mark === mark) return;
  entry.dataset.mark = mark;
  const find = (query) => entry.querySelector(query);
  const [first, second] = (best ?? []).map(([index, share]) => ({ name: fit.classes[index], share }));
  setText(find(".label"), first ? first.name : "No label yet");
  setText(find(".share"), first ? percent(first.share) : "");
  find(".bar").replaceChildren(meter(first?.share ?? 0));
  setText(find(".next"), second ? `then ${second.name}, ${percent(second.share)}` : picture.name);
  const told = first ? `${first.name}, ${percent(first.share)}. Look why` : "no label yet";
  find("button").setAttribute("aria-label", `${picture.name}: ${told}`);
}
